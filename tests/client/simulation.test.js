// Tabs on a network that delays, drops, repeats and reorders: what they show is right all the time.
//
// SEEDS=2000 runs more worlds, SEED=7 one of them.
import assert from "node:assert/strict";
import { test } from "node:test";

import { CONFIG, Page } from "./page.js";
import { isNoop, isRefused, randomOf, SimulatedTab, World } from "./world.js";

const SEEDS = process.env.SEED ? [+process.env.SEED] : [...Array(+(process.env.SEEDS ?? 10)).keys()];
const STEP = 10; // ms
const ACTIVE = 900; // steps
const CALM = 3000; // steps at most
const LOADING = 1000; // ms until a page that was loaded connects

const add = (state, { n }) => ({ ...state, log: [...state.log, n] });
const config = { ...CONFIG, states: { board: "me" } };

// After a conflict, a tab sends an action again under a new id, of which a copy of the tab, which has
// the old one, knows nothing.
const isAmbiguous = ({ copied, conflicts }, n) => copied.has(n) && conflicts.has(n);

// The predicted state is the confirmed one with exactly the unanswered actions, each once.
function check(world, tab, where) {
  const state = tab.board.getState();
  if (!state) return;
  const confirmed = tab.board.getConfirmedState().log;
  const context = () => JSON.stringify({ where, log: state.log, confirmed, open: [...tab.open] });
  // One that was in, then lost, then others came before it: the tab hears of that first.
  const isExcused = (n) => isAmbiguous(world, n) || (world.lost.has(n) && world.conflicts.has(n));
  const twice = state.log.filter((n, place) => state.log.indexOf(n) < place && !isExcused(n));
  assert.deepEqual(twice, [], `twice: ${context()}`);
  assert.deepEqual(state.log.slice(0, confirmed.length), confirmed, context());
  const ahead = state.log.slice(confirmed.length);
  for (const n of ahead) assert.ok(tab.open.has(n), `${n} is not open: ${context()}`);
  for (const n of tab.open) {
    // Decided without an effect that lasts, and the answer is still on its way.
    if (isRefused(n) || isNoop(n) || world.lost.has(n) || world.conflicts.has(n)) continue;
    assert.ok(state.log.includes(n), `${n} is missing: ${context()}`);
  }
  for (const [n, outcome] of tab.settled) {
    if (outcome !== "resolved" || isNoop(n) || world.lost.has(n)) continue;
    assert.ok(confirmed.includes(n), `${n} was resolved and is missing: ${context()}`);
  }
}

class Simulation {
  #page = new Page();
  #number = 0;
  #pages = [];

  constructor(seed) {
    const random = randomOf(seed);
    this.#page.random.mock.mockImplementation(random);
    this.world = new World(random);
    this.tabs = [this.#openTab(), this.#openTab()];
  }

  async run() {
    const { world } = this;
    for (let step = 0; step < ACTIVE; step += 1) {
      this.#disturb();
      await this.#step();
    }
    world.isCalm = true;
    world.isDown = false;
    for (let step = 0; step < CALM && !this.isSettled; step += 1) await this.#step();
    this.#judge();
  }

  leave() {
    clearInterval(this.world.heartbeat);
    this.#page.leave();
  }

  get isSettled() {
    const { rev } = this.world.record;
    const isDone = ({ session }) => session.pending === 0 && session.rev("me") === rev;
    return !this.#pages.length && this.tabs.every(isDone);
  }

  #openTab(storage) {
    const tab = new SimulatedTab(this.world, { board: { add } }, config, storage);
    tab.board.subscribe(() => check(this.world, tab, "notification"));
    return tab;
  }

  async #step() {
    this.#page.tick(STEP);
    for (let turns = 0; turns < 6; turns += 1) await null;
    this.#pages = this.#pages.filter(([at, open]) => at > Date.now() || open());
    for (const tab of this.tabs) check(this.world, tab, "between");
    assert.deepEqual(this.#page.reported, []);
  }

  #disturb() {
    const { world, tabs } = this;
    const tab = tabs[world.below(tabs.length)];
    if (tab && world.chance(0.06)) for (let n = world.below(4); n >= 0; n -= 1) tab.act((this.#number += 1));
    if (world.chance(0.006)) for (const socket of [...world.sockets]) if (world.chance(0.6)) socket.cut(world.chance(0.3));
    if (world.chance(0.003)) world.isDown = !world.isDown;
    if (world.chance(0.001)) world.reset();
    if (tab && world.chance(0.002)) this.#load(tab, true);
    if (tab && world.chance(0.001) && tabs.length + this.#pages.length < 4) this.#load(tab, false);
  }

  // A reload, or a copy of the tab: what was stored is found once the page is there.
  #load(tab, isReload) {
    const { leftover } = tab;
    if (!isReload) for (const n of tab.open) this.world.copied.add(n);
    if (isReload) {
      tab.session.close();
      this.tabs.splice(this.tabs.indexOf(tab), 1);
    }
    this.#pages.push([Date.now() + LOADING, () => void this.tabs.push(this.#openTab(leftover))]);
  }

  #judge() {
    const { world, tabs } = this;
    const { log } = world.record;
    assert.ok(tabs.length && this.isSettled, "not settled");
    const twice = log.filter((n, place) => log.indexOf(n) < place && !isAmbiguous(world, n));
    assert.deepEqual(twice, [], "an action took effect twice");
    for (const { board, open, settled } of tabs) {
      assert.deepEqual(board.getState().log, log);
      assert.equal(board.getState(), board.getConfirmedState());
      // Results of actions of the page before are told to nobody.
      for (const [n, outcome] of settled) {
        const isIn = log.includes(n) || world.lost.has(n) || isNoop(n);
        // What the server has lost it refuses, if it has later ones; once that is lost, too, a copy runs it.
        if (isAmbiguous(world, n) || (world.copied.has(n) && world.lost.has(n))) continue;
        if (outcome === "resolved") assert.ok(isIn, `${n} was resolved`);
        else assert.ok(outcome === "outcome_unknown" || !log.includes(n), `${n} was refused`);
      }
      for (const n of open) assert.ok(log.includes(n) || world.lost.has(n) || isNoop(n), `${n} is open`);
    }
  }
}

for (const seed of SEEDS) {
  test(`what tabs show is right in the world ${seed}`, async () => {
    const simulation = new Simulation(seed);
    try {
      await simulation.run();
    } finally {
      simulation.leave();
    }
  });
}
