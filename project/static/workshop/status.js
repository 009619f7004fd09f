// The connection in words: what it is doing, what waits for it, and how far the document has come.

export const WORDS = {
  connecting: gettext("Connecting"),
  live: gettext("Live"),
  reconnecting: gettext("Reconnecting"),
  offline: gettext("Offline"),
  ended: gettext("Ended"),
};

// Whether a page that has ended for this reason is as good as ever once it is loaded again.
export const mayReturn = (reason) => !["ended", "kicked", "left"].includes(reason);

// What its status says then.
export const endWord = (reason) => (mayReturn(reason) ? gettext("Disconnected") : WORDS.ended);

export const counterOf = (rev) => rev?.split(/[.-]/)[1];

// `doc` is the document whose rev is shown: "me" or "session".
export function showStatus(session, doc) {
  const words = document.getElementById("status");
  const code = document.getElementById("rev");
  const worker = document.getElementById("worker");
  let reason;

  function draw() {
    const rev = session.rev(doc);
    const waiting = session.pending && session.status !== "live" ? ` · ${interpolate(gettext("%s waiting"), [session.pending])}` : "";
    const text = reason ? endWord(reason) : WORDS[session.status] + waiting;
    if (words.textContent !== text) words.textContent = text;
    words.title = session.message;
    code.textContent = rev ? `rev ${counterOf(rev)}` : "";
    code.title = rev ?? "";
    document.body.dataset.status = session.status;
    if (session.status !== "live") worker.textContent = "";
  }

  // Where there are several, the one that serves this connection names itself.
  session.on("message", (message) => {
    if (message.worker) worker.textContent = `worker ${message.worker}`;
  });

  session.on("status", draw);
  session.on("pending", draw);
  session.on("end", (event) => {
    ({ reason } = event);
    draw();
  });
  draw();
  return draw;
}

export function showStep(current) {
  for (const item of document.querySelectorAll("#steps li")) {
    const number = Number(item.dataset.step);
    item.toggleAttribute("data-past", number < current);
    if (number === current) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
}
