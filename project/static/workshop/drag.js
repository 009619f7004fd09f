// Dragging by mouse or pen. A finger scrolls instead, and taps.

const THRESHOLD = 6; // px; less is a click with an unsteady hand

export function draggable(node, { start, over, drop }) {
  node.addEventListener("pointerdown", (down) => {
    if (down.button !== 0 || down.pointerType === "touch") return;
    // By the screen: the page may scroll beneath a hand that keeps still.
    const { screenX, screenY } = down;
    const done = new AbortController();
    const { signal } = done;
    let dragging = false;

    const finish = ({ type, clientX, clientY }) => {
      done.abort();
      if (!dragging) return;
      // The click that ends a drag is meant for nobody.
      const swallow = (click) => click.stopPropagation();
      addEventListener("click", swallow, true);
      setTimeout(() => removeEventListener("click", swallow, true));
      if (type === "pointerup") drop(clientX, clientY);
      else drop(-1, -1);
      node.removeAttribute("data-dragging"); // only now: until then the pointer sees through it
      node.style.transform = "";
    };

    addEventListener("pointermove", (event) => {
      const [x, y] = [event.clientX - down.clientX, event.clientY - down.clientY];
      const moved = Math.hypot(event.screenX - screenX, event.screenY - screenY);
      if (!dragging && moved < THRESHOLD) return;
      if (!dragging) {
        dragging = true;
        node.setAttribute("data-dragging", "");
        start();
      }
      node.style.transform = `translate(${x}px, ${y}px) rotate(2deg)`;
      over(event.clientX, event.clientY);
    }, { signal });
    addEventListener("pointerup", finish, { signal });
    addEventListener("pointercancel", finish, { signal });
  });
}
