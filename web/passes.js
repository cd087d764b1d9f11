// What the passes of one answer did, and which of them wrote which part of its text. Nothing here draws.

const kinds = ["prefill", "decode", "draft", "verify", "denoise", "commit"];
const mostCells = 1024;

function whole(value) {
  return Number.isFinite(value) && value > 0 ? Math.floor(value) : 0;
}

// A record of the server, with nothing in it that could surprise.
function clean(record) {
  const block = (Array.isArray(record?.block) ? record.block.slice(0, mostCells) : [])
                    .map((text) => (typeof text === "string" ? text : null));
  return {
    kind: kinds.includes(record?.kind) ? record.kind : "decode",
    rows: whole(record?.rows),
    block,
    accepted: Math.min(whole(record?.accepted), block.length),
    emitted: Math.min(whole(record?.emitted), mostCells),
    forced: new Set((Array.isArray(record?.forced) ? record.forced : []).map(whole)),
  };
}

// Texts of the tokens that a pass added to the answer; null where its record does not tell. What verification puts
// behind the accepted drafts stands first in the next block.
function emittedTexts({kind, block, accepted, emitted}) {
  let known = [];
  if (kind === "verify" || kind === "decode") known = block.slice(1, accepted).slice(0, Math.max(emitted - 1, 0));
  if (kind === "denoise") known = block.slice(Math.max(accepted - emitted, 0), accepted);
  const texts = known.slice(0, emitted);
  while (texts.length < emitted) texts.push(null);
  return texts;
}

export class PassLog {
  passes = [];     // {kind, rows, block, accepted, emitted, texts, at}; at: milliseconds since the question
  pieces = [];     // {text, first, last}: the answer, and the passes that wrote it; -1: not known
  text = "";       // as it is shown: content, and calls as name(arguments)
  content = "";
  calls = [];      // {id, name, arguments} of tools
  #callsByIndex = new Map();
  #inCall = false;  // its bracket is open
  finish = "";     // OpenAI's finish_reason
  usage = null;
  stats = null;    // the server's own, with its last event
  firstAt = null;  // when the first text came, milliseconds since the question
  lastAt = 0;
  steps = [];      // {at, characters, tokens, passes} so far, as they came
  #emitted = 0;    // tokens of all passes
  #afterPrompt = 0;  // passes that are not prefill
  #queue = [];     // tokens whose text has not come: {text, pass}
  #open = null;    // the last emitted token, while its text is not known: {pass, token}

  // One event of the stream, `at` milliseconds after the question.
  add(event, at) {
    const records = Array.isArray(event?.dvlm?.passes) ? event.dvlm.passes : [];
    for (const record of records) this.#addPass(clean(record), at);
    const choice = event?.choices?.[0];
    const content = choice?.delta?.content;
    if (typeof content === "string" && content) {
      this.#closeCall();
      this.content += content;
      this.#addText(content, at);
    }
    const calls = Array.isArray(choice?.delta?.tool_calls) ? choice.delta.tool_calls : [];
    for (const call of calls) this.#addCall(call, at);
    if (typeof choice?.finish_reason === "string") {
      this.finish = choice.finish_reason;
      if (this.finish !== "length") this.#closeCall();
    }
    if (event?.usage) this.usage = event.usage;
    if (typeof event?.dvlm?.decoder === "string") this.stats = event.dvlm;
    if (records.length || content || calls.length)
      this.steps.push({at, characters: this.text.length, tokens: this.tokens(), passes: this.nfe()});
  }

  #addPass(pass, at) {
    if (this.#open && pass.block.length) {
      const {texts} = this.passes[this.#open.pass];
      texts[texts.length - 1] = this.#open.token.text = pass.block[0];
      this.#open = null;
    }
    pass.texts = emittedTexts(pass);
    pass.at = at;
    this.passes.push(pass);
    this.#emitted += pass.emitted;
    this.#afterPrompt += pass.kind !== "prefill";
    const index = this.passes.length - 1;
    for (const text of pass.texts) this.#queue.push({text, pass: index});
    if (pass.texts.length) {
      const token = this.#queue.at(-1);
      this.#open = token.text === null ? {pass: index, token} : null;
    }
  }

  // A piece of a call; its first has its name.
  #addCall(piece, at) {
    const index = whole(piece?.index), {name, arguments: given} = piece?.function ?? {};
    let call = this.#callsByIndex.get(index);
    if (!call) {
      if (typeof name !== "string" || !name) return;
      this.#closeCall();
      call = {id: typeof piece.id === "string" ? piece.id : `call_${index}`, name, arguments: ""};
      this.calls.push(call);
      this.#callsByIndex.set(index, call);
      this.#addText(`${this.text ? "\n" : ""}${name}(`, at);
      this.#inCall = true;
    }
    if (typeof given !== "string" || !given) return;
    call.arguments += given;
    this.#addText(given, at);
  }

  // No pass wrote this bracket.
  #closeCall() {
    if (!this.#inCall) return;
    this.#inCall = false;
    this.calls.at(-1).arguments ||= "{}";  // some servers write none
    this.text += ")";
    this.#addPiece(")", -1, -1);
  }

  #addText(content, at) {
    this.firstAt ??= at;
    this.lastAt = at;
    this.text += content;
    let from = 0, next = 0;  // of content; of the queue
    this.#queue.forEach((token, i) => {
      // Not found: half a character or an end of text, which are never sent.
      const found = token.text ? content.indexOf(token.text, from) : -1;
      if (found < 0 || found - from > 40) return;
      this.#addPiece(content.slice(from, found), this.#queue[next].pass, this.#queue[Math.max(i - 1, next)].pass);
      this.#addPiece(token.text, token.pass, token.pass);
      from = found + token.text.length;
      next = i + 1;
    });
    const rest = this.#queue.slice(next);
    const last = this.passes.length - 1;
    this.#addPiece(content.slice(from), rest[0]?.pass ?? last, rest.at(-1)?.pass ?? last);
    if (this.#open && rest.length === 1 && from < content.length)
      this.passes[this.#open.pass].texts.splice(-1, 1, content.slice(from));
    this.#queue = [];
  }

  #addPiece(text, first, last) {
    if (!text) return;
    const before = this.pieces.at(-1);
    if (before && before.first === first && before.last === last) before.text += text;
    else this.pieces.push({text, first, last});
  }

  tokens() {
    return this.usage?.completion_tokens ?? this.#emitted;
  }

  // Passes after the prompt was read.
  nfe() {
    return this.stats?.nfe ?? this.#afterPrompt;
  }

  tokensPerPass() {
    return this.nfe() > 0 ? Math.max(this.tokens() - 1, 0) / this.nfe() : null;
  }

  // Tokens that had no choice.
  forced() {
    const seen = this.passes.reduce((sum, {kind, forced, accepted}) =>
        sum + (kind === "draft" ? 0 : [...forced].filter((i) => i < accepted).length), 0);
    return this.stats?.forced_tokens ?? seen;
  }

  // Milliseconds from the first token to the last.
  decodeTime() {
    return this.stats?.decode_ms ?? (this.firstAt === null ? 0 : this.lastAt - this.firstAt);
  }

  tokensPerSecond() {
    const time = this.decodeTime();
    return time > 0 ? (Math.max(this.tokens() - 1, 0) * 1000) / time : null;
  }

  // Of the drafts that were judged, the share that was right.
  acceptance() {
    let drafted = 0, right = 0;
    for (const {kind, block, accepted} of this.passes) {
      if (kind !== "verify" || block.length < 2) continue;
      drafted += block.length - 1;
      right += Math.max(accepted - 1, 0);
    }
    return drafted > 0 ? right / drafted : null;
  }

  // How the block of pass `index` looks: [{text, state}], state: "known", "masked", "draft", "right", "wrong",
  // "fixed" or "new" (unmasked by this pass).
  cells(index) {
    const pass = this.passes[index];
    if (!pass) return [];
    if (pass.kind === "denoise") return this.#denoised(pass, index);
    if (pass.kind === "verify" || (pass.kind === "decode" && pass.block.length)) return this.#verified(pass);
    if (!pass.block.length) return pass.texts.map((text) => ({text: text ?? "…", state: "known"}));
    const cells = pass.block.map((text, i) => ({
      text,
      state: text === null ? "masked" : pass.forced.has(i) ? "forced" : i < pass.accepted ? "known" : "draft",
    }));
    // The causal pass of masked diffusion also gives the next block's first token.
    if (pass.kind === "commit") cells.push(...pass.texts.map((text) => ({text: text ?? "…", state: "fixed"})));
    return cells;
  }

  #verified(pass) {
    const cells = pass.block.map((text, i) => ({
      text,
      state: i === 0 ? "known" : i >= pass.accepted ? "wrong" : pass.forced.has(i) ? "forced" : "right",
    }));
    if (pass.emitted === 0) return cells;
    const text = pass.texts.at(-1);
    const judged = cells[pass.accepted];
    const ends = text === null && /^<\|.*\|>$/.test(judged?.text ?? "");  // an end of text, which is never shown
    if (judged && (ends || judged.text === text)) judged.state = "right";  // the text was cut behind it
    else cells.splice(pass.accepted + (judged ? 1 : 0), 0, {text: text ?? "end", state: "fixed"});
    return cells;
  }

  #denoised(pass, index) {
    const before = this.passes[index - 1];
    const same = before?.kind === "denoise" ? before.block : [];
    return pass.block.map((text, i) => {
      if (text === null) return {text, state: "masked"};
      if (i > 0 && (same[i] ?? null) === null) return {text, state: "new"};
      return {text, state: i < pass.accepted ? "known" : "draft"};
    });
  }
}
