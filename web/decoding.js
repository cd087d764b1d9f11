// The live view of decoding: the block of one pass as a row of cells, a chart of all passes, counters, and a player
// that goes through them at a pace that eyes can follow.
import {remember, remembered} from "/page/theme.js";

const svg = "http://www.w3.org/2000/svg";
const mostBars = 160;
const chartHeight = 48;
const element = (id) => document.getElementById(id);

const meaning = {known: "known", masked: "masked", draft: "drafted", right: "accepted", wrong: "rejected",
                 fixed: "from the check", new: "unmasked now", forced: "no choice"};
const sentence = {
  prefill: () => "reads the prompt, gives the first token",
  decode: (pass) => pass.block.length < 2 ? "writes one token"
      : `carries ${pass.block.length - 1} tokens that had no choice, writes one`,
  draft: (pass) => `proposes ${Math.max(pass.block.length - 1, 0)} tokens`,
  verify: (pass) => pass.block.length < 2
      ? "writes one token"
      : `checks ${pass.block.length - 1} drafts, keeps ${Math.max(pass.accepted - 1, 0)}`,
  denoise: (pass) => `unmasks, ${pass.accepted} of ${pass.block.length} are text`,
  commit: () => "keeps the block, gives the next token",
};

export function count(value, digits = 0) {
  return value === null || !Number.isFinite(value) ? "–" : value.toLocaleString("en", {
    minimumFractionDigits: digits, maximumFractionDigits: digits});
}

export function summary(log) {
  const parts = [`${count(log.tokens())} tokens`];
  if (log.nfe() > 0) parts.push(`${count(log.nfe())} passes`, `${count(log.tokensPerPass(), 2)} tokens/pass`);
  if (log.tokensPerSecond() !== null) parts.push(`${count(log.tokensPerSecond(), 0)} tokens/s`);
  return parts.join(" · ");
}

function visible(text) {
  if (text === "") return "end";
  const shown = text.replaceAll("\n", "↵").replaceAll("\t", "⇥");
  return shown.trim() || "␣";
}

function cellElement({text, state}) {
  const item = document.createElement("li");
  item.className = `cell ${state}`;
  item.textContent = text === null ? "\u00a0" : visible(text);
  item.title = meaning[state];
  const said = document.createElement("span");
  said.className = "hidden";
  said.textContent = ` ${meaning[state]}`;
  item.append(said);
  return item;
}

export class DecodingView {
  #log = null;
  #at = -1;
  #timer = 0;
  #scheduled = false;
  #onMove = () => {};

  constructor() {
    element("view-at").addEventListener("input", () => {
      this.#pause();
      this.#show(Number(element("view-at").value));
    });
    element("view-play").addEventListener("click", () => (this.#timer ? this.#pause() : this.play()));
    element("view-pace").addEventListener("change", () => {
      if (this.#timer) this.play(this.#at);
    });
    element("chart").addEventListener("click", (event) => {
      if (!this.#log?.passes.length) return;
      const box = element("chart").getBoundingClientRect();
      this.#pause();
      this.#show(Math.floor(((event.clientX - box.left) / box.width) * this.#log.passes.length));
    });
    const marks = element("marks");
    marks.checked = remembered("dvlm.marks", "no") === "yes";
    document.body.classList.toggle("marks", marks.checked);
    marks.addEventListener("change", () => {
      document.body.classList.toggle("marks", marks.checked);
      remember("dvlm.marks", marks.checked ? "yes" : "no");
    });
  }

  // Shows the passes of `log`, now and whenever update() is called. `onMove` hears which pass is shown, -1: none.
  open(log, decoder, onMove = () => {}) {
    this.#pause();
    this.#onMove(-1);
    this.#onMove = onMove;
    this.#log = log;
    this.#at = -1;
    element("view-decoder").hidden = !decoder;
    element("view-decoder").textContent = decoder;
    this.#draw();
  }

  close() {
    this.open(null, "");
    element("view-caption").textContent = "The passes of the next answer appear here.";
  }

  get log() {
    return this.#log;
  }

  // More has come: follows it, at most once per frame.
  update() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  // The answer is complete. What went by too fast to see is played again, unless motion is unwelcome.
  finish() {
    this.#draw();
    const passes = this.#log?.passes ?? [];
    if (passes.length < 2) return;
    const fast = (passes.at(-1).at - passes[0].at) / passes.length < 100;
    if (fast && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.play();
  }

  play(from = 0) {
    this.#pause();
    const last = (this.#log?.passes.length ?? 0) - 1;
    if (last < 0) return;
    element("view-play").textContent = "Pause";
    this.#show(from >= last ? 0 : from);
    this.#timer = setInterval(() => {
      if (this.#at < last) this.#show(this.#at + 1);
      else this.#pause();
    }, 1000 / Number(element("view-pace").value));
  }

  #pause() {
    clearInterval(this.#timer);
    this.#timer = 0;
    element("view-play").textContent = "Play";
  }

  #draw() {
    const passes = this.#log?.passes ?? [];
    element("view-play").disabled = element("view-at").disabled = passes.length < 2;
    element("view-at").max = Math.max(passes.length - 1, 0);
    this.#drawCounters();
    this.#drawChart(passes);
    if (passes.length) {
      this.#show(this.#timer ? this.#at : passes.length - 1);
    } else {
      element("cells").replaceChildren();
      if (this.#log)
        element("view-caption").textContent =
            this.#log.text ? "This server does not tell what its passes do." : "The prompt is being read.";
    }
  }

  #show(index) {
    const passes = this.#log?.passes ?? [];
    if (!passes.length) return;
    this.#at = Math.max(0, Math.min(index, passes.length - 1));
    const pass = passes[this.#at];
    element("view-at").value = this.#at;
    const text = `Pass ${this.#at + 1} of ${passes.length} · ${pass.kind}: ${sentence[pass.kind](pass)}`;
    element("view-caption").textContent = `${text} · ${pass.rows} ${pass.rows === 1 ? "row" : "rows"}`;
    element("view-at").setAttribute("aria-valuetext", text);
    element("cells").replaceChildren(...this.#log.cells(this.#at).map(cellElement));
    const box = element("chart").firstChild;
    const head = box?.querySelector(".head");
    if (head) head.setAttribute("x", ((this.#at + 0.5) / passes.length) * mostBars - 0.5);
    this.#onMove(this.#at);
  }

  #drawCounters() {
    const log = this.#log;
    const set = (id, value) => (element(id).textContent = value);
    set("count-tokens", log ? count(log.tokens()) : "–");
    set("count-passes", log && log.nfe() ? count(log.nfe()) : "–");
    set("count-ratio", log ? count(log.tokensPerPass(), 2) : "–");
    set("count-speed", log ? count(log.tokensPerSecond(), 0) : "–");
    const accepted = log?.acceptance() ?? null;
    set("count-forced", log ? count(log.forced()) : "–");
    set("count-accepted", accepted === null ? "–" : `${count(accepted * 100)} %`);
  }

  // One bar per pass, or per equal run of passes where there are many: tokens that it added; a tick below the line
  // where it added none.
  #drawChart(passes) {
    const bars = Math.min(passes.length, mostBars);
    if (!bars) return element("chart").replaceChildren();
    const heights = [];
    for (let i = 0; i < bars; ++i) {
      const from = Math.floor((i * passes.length) / bars), to = Math.floor(((i + 1) * passes.length) / bars);
      heights.push(passes.slice(from, to).reduce((sum, pass) => sum + pass.emitted, 0) / (to - from));
    }
    const most = Math.max(1, ...heights), width = mostBars / bars, line = chartHeight - 5;
    const rect = (kind, x, y, w, h) => {
      const out = document.createElementNS(svg, "rect");
      for (const [name, value] of Object.entries({class: kind, x, y, width: w, height: h})) out.setAttribute(name, value);
      return out;
    };
    const box = document.createElementNS(svg, "svg");
    box.setAttribute("viewBox", `0 0 ${mostBars} ${chartHeight}`);
    box.setAttribute("preserveAspectRatio", "none");
    heights.forEach((tokens, i) => {
      const height = (tokens / most) * (line - 2);
      box.append(tokens > 0 ? rect("bar", i * width, line - height, width * 0.75, height)
                            : rect("tick", i * width, line + 1, width * 0.75, 3));
    });
    box.append(rect("head", 0, 0, 1, chartHeight));
    element("chart").replaceChildren(box);
    element("chart").title = `Tokens per pass, at most ${count(most, Number.isInteger(most) ? 0 : 1)}; choose one to see it`;
    element("chart").setAttribute("aria-label", `Tokens per pass: ${passes.length} passes, at most ${count(most, 1)} tokens in one`);
  }
}
