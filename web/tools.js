// Calls of tools: what is shown of them, and what came of them.
import {node} from "/page/chat.js";
import {jsonElement, structured} from "/page/forms.js";

// Those that were written to their end.
export const completeCalls = (calls) => calls.filter((call) => {
  const value = structured(call.arguments);
  return value !== null && !Array.isArray(value);
});

// What the conversation keeps of an answer.
export function answerMessage(log) {
  const message = {role: "assistant", content: log.content};
  const calls = completeCalls(log.calls);
  if (calls.length)
    message.tool_calls = calls.map(({id, name, arguments: given}) =>
        ({id, type: "function", function: {name, arguments: given}}));
  return message;
}

let fields = 0;

function callElement({name, arguments: given}) {
  const card = node("li", "call");
  card.append(node("h4", "", name), jsonElement(structured(given)));
  const label = node("label", "", "What it gave");
  const result = node("textarea", "");
  result.rows = 1;
  result.id = label.htmlFor = `result-${++fields}`;
  card.append(label, result);
  return card;
}

// Nobody asks any more for results of the calls that are shown.
export function closeCalls(transcript) {
  for (const form of transcript.querySelectorAll(".calls")) form.classList.add("done");
}

// The calls, each with a field for what it gave; `send` gets these as messages.
export function callsElement(calls, send) {
  const form = node("form", "calls");
  const list = node("ol");
  list.append(...calls.map(callElement));
  const button = node("button", "", calls.length > 1 ? "Send results" : "Send result");
  form.append(list, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const results = [...form.querySelectorAll("textarea")].map(({value}) => value);
    send(calls.map(({id}, i) => ({role: "tool", tool_call_id: id, content: results[i]})));
  });
  return form;
}

export function resultsElement(messages) {
  const list = node("ul", "results");
  list.append(...messages.map(({content}) => node("li", "text", content || "nothing")));
  return list;
}
