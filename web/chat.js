// The conversation: what was said, what is shown of it, and one question at a time.
import {ReadAhead} from "/page/ahead.js";
import {ask, ServerError} from "/page/api.js";
import {summary} from "/page/decoding.js";
import {boxesElement, boxesIn, jsonElement, structured} from "/page/forms.js";
import {PassLog} from "/page/passes.js";
import {pictureElement} from "/page/pictures.js";
import {requestFields, systemPrompt} from "/page/settings.js";
import {answerMessage, callsElement, closeCalls, completeCalls, resultsElement} from "/page/tools.js";

const element = (id) => document.getElementById(id);

export function node(tag, className, text = "") {
  const out = document.createElement(tag);
  if (className) out.className = className;
  if (text) out.textContent = text;
  return out;
}

// Adds to the end of the transcript and keeps the end in sight, unless the reader has scrolled away.
export function show(item) {
  element("welcome").hidden = true;
  const keep = atEnd();
  element("transcript").append(item);
  if (keep) scrollToEnd();
}

function atEnd() {
  const box = element("transcript");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 80;
}

export function scrollToEnd() {
  element("transcript").scrollTop = element("transcript").scrollHeight;
}

export function announce(text) {
  element("announcer").textContent = text;
}

export function turnElement(who, className) {
  const turn = node("article", `turn ${className}`);
  turn.append(node("h3", "", who));
  return turn;
}

export function questionElement(text, pictures) {
  const turn = turnElement("You", "question");
  if (pictures.length) {
    const row = node("div", "pictures");
    row.append(...pictures.map(pictureElement));
    turn.append(row);
  }
  turn.append(node("p", "text", text));
  return turn;
}

// The text of an answer, in pieces by the pass that wrote them.
export class AnswerText {
  element = node("p", "text");
  #drawn = 0;  // pieces that will not change any more, plus one

  draw(log) {
    const {pieces} = log;
    for (let i = Math.max(this.#drawn - 1, 0); i < pieces.length; ++i) {
      const {text, first, last} = pieces[i];
      let span = this.element.children[i];
      if (!span) {
        span = node("span", `piece ${i % 2 ? "odd" : "even"}`);
        this.element.append(span);
      }
      span.textContent = text;
      if (first >= 0) span.title = first === last ? `pass ${first + 1}` : `passes ${first + 1} to ${last + 1}`;
    }
    this.#drawn = pieces.length;
  }

  // Points at what pass `index` wrote.
  point(log, index) {
    log.pieces.forEach(({first, last}, i) => {
      this.element.children[i]?.classList.toggle("now", first >= 0 && first <= index && index <= last);
    });
  }
}

// What the server does before there is text, from "dvlm.progress" of an event.
function workText(progress) {
  const percent = progress.total > 0 ? Math.floor(100 * Math.min(progress.done / progress.total, 1)) : 0;
  if (progress.stage === "picture") return `Looking at picture ${Number(progress.picture) || 1}: ${percent} %`;
  return `Reading the question: ${percent} %`;
}

function userMessage(text, pictures) {
  if (!pictures.length) return {role: "user", content: text};
  const parts = pictures.map(({url}) => ({type: "image_url", image_url: {url}}));
  return {role: "user", content: [...parts, {type: "text", text}]};
}

export class Chat {
  #messages = [];  // as the server takes them, without the system prompt
  #view;
  #onResults;
  #ahead = new ReadAhead();

  // `onResults` hears what calls of tools gave, as messages for answerTo().
  constructor(view, onResults) {
    this.#view = view;
    this.#onResults = onResults;
  }

  clear() {
    this.#ahead.stop();
    this.#messages = [];
    for (const turn of [...element("transcript").querySelectorAll(".turn")]) turn.remove();
    element("welcome").hidden = false;
    this.#view.close();
  }

  get empty() {
    return this.#messages.length === 0;
  }

  // What a request sends for a question; without one, for the last question again.
  messagesFor(text, pictures) {
    if (text) return this.#behindSystem([...this.#messages, userMessage(text, pictures)]);
    return this.#behindSystem(this.#messages.slice(0, this.#messages.findLastIndex(({role}) => role === "user") + 1));
  }

  #behindSystem(messages) {
    const system = systemPrompt();
    return system ? [{role: "system", content: system}, ...messages] : messages;
  }

  // Pictures of a question that is being written; none: of no question any more.
  readAhead(pictures, decoder) {
    if (!pictures.length) return this.#ahead.stop();
    const messages = this.#behindSystem([...this.#messages, userMessage("", pictures)]);
    return this.#ahead.begin(messages, requestFields(decoder));
  }

  lastQuestion() {
    const content = this.#messages.findLast(({role}) => role === "user")?.content ?? "";
    return typeof content === "string" ? content : content.at(-1).text;
  }

  ask(text, pictures, decoder, signal) {
    const asked = [userMessage(text, pictures)];
    return this.#exchange(asked, questionElement(text, pictures), decoder, requestFields(decoder), signal);
  }

  // `messages`: what calls of the last answer gave.
  answerTo(messages, decoder, signal) {
    const turn = turnElement("Tools", "question");
    turn.append(resultsElement(messages));
    const fields = requestFields(decoder);
    if (fields.tool_choice) fields.tool_choice = "auto";  // or results would lead to calls for ever
    return this.#exchange(messages, turn, decoder, fields, signal);
  }

  // Asks and shows the answer as it comes. Throws what ask() throws when there is no answer at all; `asked` is then
  // not part of the conversation.
  async #exchange(asked, question, decoder, fields, signal) {
    const conversation = this.#messages;
    const answer = turnElement("dvlm", "answer");
    const shown = new AnswerText();
    const log = new PassLog();
    const working = node("p", "working");
    answer.append(shown.element, working);
    answer.setAttribute("aria-busy", "true");
    show(question);
    show(answer);
    scrollToEnd();
    const point = (index) => shown.point(log, index);
    this.#view.open(log, decoder, point);
    const begun = performance.now();
    let problem = null;
    const showWork = (event) => {
      working.textContent = event?.dvlm?.progress && !log.text ? workText(event.dvlm.progress) : "";
    };
    try {
      await this.#ahead.finish(signal, showWork);
      await ask(this.#behindSystem([...conversation, ...asked]), fields, signal, (event) => {
        log.add(event, performance.now() - begun);
        const keep = atEnd();
        shown.draw(log);
        showWork(event);
        if (keep) scrollToEnd();
        this.#view.update();
      });
    } catch (error) {
      problem = error;
    }
    answer.removeAttribute("aria-busy");
    working.remove();
    if (conversation !== this.#messages) return;  // cleared meanwhile
    if (problem && !log.text) {
      question.remove();
      answer.remove();
      element("welcome").hidden = !this.empty;
      this.#view.close();
      throw problem;
    }
    this.#messages.push(...asked, answerMessage(log));
    this.#showStructure(answer, log);
    closeCalls(element("transcript"));
    const calls = completeCalls(log.calls);
    if (calls.length) answer.append(callsElement(calls, this.#onResults));
    this.#closeTurn(answer, log, decoder, point, problem);
  }

  // An answer that is JSON, in lines; and the last picture, with the boxes that the answer or its calls have.
  #showStructure(answer, log) {
    const value = structured(log.content);
    const keep = atEnd();
    if (value !== null) {
      const lines = node("details", "structure");
      lines.append(node("summary", "", "In lines"), jsonElement(value));
      answer.append(lines);
    }
    const boxes = boxesIn([value, ...log.calls.map((call) => structured(call.arguments))]), url = this.#lastPicture();
    const {resized_width: width, resized_height: height} = log.stats?.images?.at(-1) ?? {};
    if (boxes.length && url) answer.append(boxesElement(url, boxes, width > 0 && height > 0 ? {width, height} : null));
    if (keep) scrollToEnd();
  }

  #lastPicture() {
    const parts = this.#messages.flatMap(({content}) => (Array.isArray(content) ? content : []));
    return parts.findLast(({type}) => type === "image_url")?.image_url.url;
  }

  #closeTurn(answer, log, decoder, point, problem) {
    const notes = [`${decoder}: ${summary(log)}`];
    if (problem) notes.push(problem instanceof ServerError ? problem.message : "stopped");
    else if (log.finish === "length") notes.push("cut at the longest answer");
    const line = node("p", "notes");
    line.append(node("span", "", notes.join(" · ")));
    if (log.passes.length) {
      const again = node("button", "quiet", "Show passes");
      again.type = "button";
      again.addEventListener("click", () => {
        this.#view.open(log, decoder, point);
        this.#view.play();
        element("decoding").scrollIntoView({block: "nearest"});
      });
      line.append(again);
    }
    const keep = atEnd();
    answer.append(line);
    if (keep) scrollToEnd();
    announce(`${problem ? "Answer, not complete" : "Answer"}: ${log.text}`);
    this.#view.finish();
  }
}
