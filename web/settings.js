// How answers are asked for: the form beside the conversation, remembered from visit to visit.
import {formFields, startForms} from "/page/forms.js";
import {remember, remembered} from "/page/theme.js";

const initial = {decoder: "auto", block_size: "", branches: "", threshold: "", temperature: "", top_p: "", seed: "",
                 max_tokens: "512", picture_side: "1600", system: "", form: "", form_text: ""};
const needs = {block_size: ["spec", "fused", "auto", "mdm"], branches: ["fused", "auto"], threshold: ["mdm"]};
const help = {
  spec: "One pass drafts a block, one checks it. Writes exactly what ar writes.",
  fused: "The pass that checks a block also drafts the next one. Writes exactly what ar writes.",
  auto: "Chooses rounds and block sizes from what they turn out to be worth. Writes exactly what ar writes.",
  ar: "Autoregressive: each pass over the model writes one token.",
  mdm: "Unmasks what it is sure of, wherever it stands in the block. Writes a text of its own.",
};

const field = (name) => document.getElementById(name);

function showWhatCounts() {
  const decoder = field("decoder").value;
  field("decoder-help").textContent = help[decoder];
  for (const [name, decoders] of Object.entries(needs)) {
    const used = decoders.includes(decoder);
    field(name).hidden = !used;
    document.querySelector(`label[for=${name}]`).hidden = !used;
  }
}

function fill(values) {
  for (const name of Object.keys(initial)) {
    field(name).value = typeof values[name] === "string" ? values[name] : initial[name];
    if (field(name).tagName === "SELECT" && field(name).selectedIndex < 0) field(name).value = initial[name];
  }
  showWhatCounts();
}

export function startSettings() {
  let kept = {};
  try {
    kept = JSON.parse(remembered("dvlm.settings", "{}")) ?? {};
  } catch {
    // then the defaults hold
  }
  fill(kept);
  const save = () => {
    showWhatCounts();
    remember("dvlm.settings",
             JSON.stringify(Object.fromEntries(Object.keys(initial).map((name) => [name, field(name).value]))));
  };
  const checkForm = startForms(save);
  field("settings").addEventListener("input", save);
  field("settings").addEventListener("submit", (event) => event.preventDefault());
  field("defaults").addEventListener("click", () => {
    fill(initial);
    checkForm();
    save();
  });
}

export const chosenDecoder = () => field("decoder").value;
export const systemPrompt = () => field("system").value.trim();
export const hasForm = () => field("form").value !== "";
export const pictureSide = () => Number(field("picture_side").value);

// The first field that holds no allowed value, as a sentence, or "".
export function settingsProblem() {
  for (const input of field("settings").elements) {
    if (input.hidden || !input.willValidate || input.checkValidity()) continue;
    const name = document.querySelector(`label[for=${input.id}]`).textContent;
    return `${name}: ${input.validationMessage}`;
  }
  return "";
}

// The fields of a request beside its messages. `form`: whether the answer is held to one.
export function requestFields(decoder, form = true) {
  const number = (name, fallback) => (field(name).value === "" ? fallback : field(name).valueAsNumber);
  const fields = {max_tokens: number("max_tokens", 512), temperature: number("temperature", 0),
                  top_p: number("top_p", 1), seed: number("seed", 0), dvlm: {decoder}};
  for (const [name, decoders] of Object.entries(needs))
    if (decoders.includes(decoder) && field(name).value !== "") fields.dvlm[name] = number(name);
  if (form) Object.assign(fields, formFields(field("form").value, field("form_text").value));
  return fields;
}
