// The same question with ar and with another decoder. Each is asked alone, so that neither slows the other; what
// came when is kept, and then both are shown side by side from their first tokens on.
import {ask} from "/page/api.js";
import {announce, node, scrollToEnd, show, turnElement} from "/page/chat.js";
import {count} from "/page/decoding.js";
import {PassLog} from "/page/passes.js";
import {hasForm, requestFields} from "/page/settings.js";

const shortest = 5000;  // milliseconds that a replay of the slower one takes at least

// What runs against what: ar against another decoder, or where answers have a form, that decoder without it and with it.
function contestants(decoder) {
  if (!hasForm()) return [{name: "ar", decoder: "ar"}, {name: decoder, decoder}];
  return [{name: `${decoder}, free`, decoder, form: false}, {name: `${decoder}, in the form`, decoder, form: true}];
}

async function run(messages, {decoder, form}, signal, lane) {
  const log = new PassLog();
  const begun = performance.now();
  lane.status.textContent = "writes, alone on the machine";
  await ask(messages, requestFields(decoder, form), signal, (event) => log.add(event, performance.now() - begun));
  lane.status.textContent = "done, waits for the replay";
  return log;
}

// What was there when: {at, characters, tokens, passes}, at: milliseconds since the first token. The server's own
// measure of the whole stretches or shrinks what was seen here, where pieces may arrive together.
function timeline(log) {
  const first = log.firstAt ?? 0;
  const seen = log.lastAt - first, real = log.decodeTime();
  const scale = seen > 0 ? real / seen : 0;
  const steps = log.steps.filter(({characters}) => characters > 0)
                    .map((step) => ({...step, at: Math.min((step.at - first) * scale, real)}));
  const end = {at: real, characters: log.text.length, tokens: log.tokens(), passes: log.nfe()};
  // A whole answer that arrived at once is shown as if it had come evenly.
  const even = seen > 0 ? [] : Array.from({length: 40}, (_, i) => i / 40).map((part) => ({
    at: real * part, characters: Math.ceil(end.characters * part), tokens: Math.ceil(end.tokens * part),
    passes: Math.ceil(end.passes * part)}));
  return [...(even.length ? even : steps), end];
}

function laneElement({name}) {
  const element = node("section", "lane");
  element.setAttribute("aria-label", `Decoder ${name}`);
  const head = node("div", "row");
  const timer = node("output", "timer", "–");
  head.append(node("h4", "", name), node("span", "gap"), timer);
  const text = node("p", "text");
  const status = node("p", "notes", "waits");
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Progress of ${name}`);
  element.append(head, bar, text, status);
  return {element, timer, text, status, bar};
}

function milliseconds(value) {
  return value < 10000 ? `${count(value, value < 100 ? 1 : 0)} ms` : `${count(value / 1000, 1)} s`;
}

function drawLane(lane, log, steps, now) {
  const end = steps.at(-1);
  const done = now >= end.at;
  const step = done ? end : (steps.findLast(({at}) => at <= now) ?? {characters: 0, tokens: 0, passes: 0});
  lane.text.textContent = log.text.slice(0, step.characters);
  lane.timer.textContent = milliseconds(Math.min(now, end.at));
  lane.bar.value = end.tokens ? step.tokens / end.tokens : 1;
  const passes = end.passes ? ` · ${count(step.passes)} passes` : "";
  const speed = done ? ` · ${count(log.tokensPerSecond())} tokens/s` : "";
  lane.status.textContent = `${count(step.tokens)} tokens${passes}${speed}`;
  lane.element.classList.toggle("done", done);
  return done;
}

// Calls draw(milliseconds of real time) per frame until it returns true. `rate`: real time per time shown.
function animate(rate, draw, signal) {
  return new Promise((resolve) => {
    const begun = performance.now();
    const frame = () => {
      if (signal.aborted || draw(rate === Infinity ? Infinity : (performance.now() - begun) * rate)) resolve();
      else requestAnimationFrame(frame);
    };
    frame();
  });
}

function verdict(logs, [one, two]) {
  const [before, after] = logs;
  const passes = before.nfe() > 0 && after.nfe() > 0 ? `${count(after.nfe())} passes instead of ${count(before.nfe())}` : "";
  if (two.form) {
    const each = after.tokensPerPass() !== null ? `, ${count(after.tokensPerPass(), 2)} tokens per pass instead of ${count(before.tokensPerPass(), 2)}` : "";
    return `In the form: ${milliseconds(after.decodeTime())} instead of ${milliseconds(before.decodeTime())}, ${passes}${each}. ` +
        `${count(after.forced())} of ${count(after.tokens())} tokens had no choice.`;
  }
  const equal = before.text === after.text;
  const texts = equal ? "Both texts are equal."
      : two.name === "mdm" ? "The texts differ: mdm writes its own." : "The texts differ.";
  // Texts of different lengths are compared by tokens per second.
  const ratio = equal ? before.decodeTime() / after.decodeTime() : after.tokensPerSecond() / before.tokensPerSecond();
  const speed = ratio > 0 && Number.isFinite(ratio) ? `${two.name} has ${count(ratio, 2)}× the speed of ${one.name}` : "Too short to time";
  return `${speed}${passes ? `, with ${passes}` : ""}. ${texts}`;
}

// Races `decoder`, see contestants(); `view` then shows its passes. Throws what ask() throws; nothing is left in the transcript then.
export async function race(question, messages, decoder, view, signal) {
  const runners = contestants(decoder);
  const card = turnElement(`Race: ${runners.map(({name}) => name).join(" against ")}`, "race");
  card.append(node("p", "text asked", question));
  const lanes = runners.map(laneElement);
  const tracks = node("div", "lanes");
  tracks.append(...lanes.map(({element}) => element));
  const result = node("p", "verdict", "First one, then the other.");
  card.append(tracks, result);
  show(card);
  view.close();  // nothing moves while the decoders run
  scrollToEnd();
  const logs = [];
  try {
    for (const [i, runner] of runners.entries()) logs.push(await run(messages, runner, signal, lanes[i]));
  } catch (error) {
    card.remove();
    throw error;
  }
  await replay(lanes, logs, runners, result, signal);
  card.append(replayLine(lanes, logs, runners, result, view));
  view.open(logs[1], decoder);
  view.finish();
  scrollToEnd();
  announce(`Race finished. ${result.textContent}`);
}

async function replay(lanes, logs, runners, result, signal) {
  const lines = logs.map(timeline);
  const slower = Math.max(...lines.map((steps) => steps.at(-1).at));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const rate = still ? Infinity : Math.min(1, slower / shortest) || Infinity;
  result.textContent = rate < 1 ? `Replay, ${count(1 / rate, 1 / rate < 10 ? 1 : 0)} times slower than it was.` : "Replay.";
  await animate(rate, (now) => lanes.map((lane, i) => drawLane(lane, logs[i], lines[i], now)).every(Boolean), signal);
  lanes.forEach((lane, i) => drawLane(lane, logs[i], lines[i], Infinity));
  result.textContent = verdict(logs, runners);
}

function replayLine(lanes, logs, runners, result, view) {
  const line = node("p", "notes");
  line.append(node("span", "", "Times count from the first token: the second run finds the prompt already read. " +
                               "A race is not part of the conversation."));
  const button = (text, work) => {
    const out = node("button", "quiet", text);
    out.type = "button";
    out.addEventListener("click", () => work(out));
    line.append(out);
  };
  button("Replay", async (again) => {
    again.disabled = true;
    await replay(lanes, logs, runners, result, new AbortController().signal);
    again.disabled = false;
  });
  runners.forEach(({name, decoder}, i) => {
    if (!logs[i].passes.length) return;
    button(`Passes of ${name}`, () => {
      view.open(logs[i], decoder);
      view.play();
    });
  });
  return line;
}
