// Forms that an answer is held to, calls of tools among them: the fields of the settings, and what is shown of an
// answer that is JSON.
import {node} from "/page/chat.js";

const svg = "http://www.w3.org/2000/svg";
const mostBoxes = 200;
const element = (id) => document.getElementById(id);

export const examples = {
  boxes: {type: "array", items: {type: "object", properties: {
    bbox_2d: {type: "array", items: {type: "integer", minimum: 0, maximum: 4096}, minItems: 4, maxItems: 4},
    label: {type: "string", minLength: 1, maxLength: 30}}, required: ["bbox_2d", "label"]}, maxItems: 20},
  place: {type: "object", properties: {side: {enum: ["left", "right", "top", "bottom", "center"]},
                                       sure: {type: "boolean"}}, required: ["side", "sure"]},
  tools: [{type: "function", function: {
    name: "point_at", description: "Points at one thing in the picture.",
    parameters: {type: "object", properties: {thing: {type: "string", maxLength: 20}, side: {enum: ["left", "right"]}},
                 required: ["thing", "side"]}}}],
};

const isOfTools = (kind) => kind === "tools" || kind === "call";

function toolsProblem(tools) {
  if (!Array.isArray(tools) || !tools.length) return "Tools are a list.";
  const bad = tools.findIndex((tool) => typeof tool?.function?.name !== "string");
  return bad < 0 ? "" : `Tool ${bad + 1} has no function with a name.`;
}

// What is wrong with the form, as a sentence, or "".
export function formProblem(kind, text) {
  if (kind === "") return "";
  if (text.trim() === "") return "The form is empty.";
  if (kind === "regex") return "";
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `This is no JSON: ${error.message}`;
  }
  if (isOfTools(kind)) return toolsProblem(value);
  return typeof value === "object" && value !== null || typeof value === "boolean" ? "" : "A schema is an object.";
}

// The fields of a request. A schema goes as its text: properties have an order.
export function formFields(kind, text) {
  if (kind === "regex") return {structured_outputs: {regex: text}};
  if (isOfTools(kind)) return {tools: JSON.parse(text), tool_choice: kind === "call" ? "required" : "auto"};
  if (kind === "schema") return {response_format: {type: "json_schema", json_schema: {name: "answer", schema: text}}};
  return {};
}

// The value of an answer that is a JSON object or list, or null.
export function structured(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

// The value in lines, with keys, texts, numbers and the rest told apart.
export function jsonElement(value) {
  const out = node("pre", "json");
  const text = JSON.stringify(value, null, 1);
  const parts = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)/g;
  let at = 0;
  for (const match of text.matchAll(parts)) {
    out.append(text.slice(at, match.index));
    const kind = match[2] ? "key" : match[1] ? "string" : match[3] ? "number" : "word";
    out.append(node("span", kind, match[1] ?? match[0]), match[2] ?? "");
    at = match.index + match[0].length;
  }
  out.append(text.slice(at));
  return out;
}

// [{box: [left, top, right, bottom], label}] of all objects in it that have a "bbox_2d".
export function boxesIn(value, out = []) {
  if (typeof value !== "object" || value === null || out.length >= mostBoxes) return out;
  const box = value.bbox_2d;
  if (Array.isArray(box) && box.length === 4 && box.every(Number.isFinite))
    out.push({box, label: typeof value.label === "string" ? value.label : ""});
  for (const inner of Object.values(value)) boxesIn(inner, out);
  return out;
}

// The picture with boxes drawn into it. `size`: {width, height} of the picture that the boxes are measured in.
export function boxesElement(url, boxes, size) {
  const figure = node("figure", "boxes");
  const picture = document.createElement("img");
  picture.src = url;
  picture.alt = `The picture with ${boxes.length} boxes`;
  const drawing = document.createElementNS(svg, "svg");
  const make = (name, attributes, text = "") => {
    const out = document.createElementNS(svg, name);
    for (const [key, value] of Object.entries(attributes)) out.setAttribute(key, value);
    if (text) out.textContent = text;
    drawing.append(out);
  };
  const draw = () => {
    const {width, height} = size ?? {width: picture.naturalWidth, height: picture.naturalHeight};
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.replaceChildren();
    boxes.forEach(({box: [left, top, right, bottom], label}, i) => {
      const hue = `hue-${i % 6}`;
      make("rect", {class: hue, x: Math.min(left, right), y: Math.min(top, bottom), width: Math.abs(right - left),
                    height: Math.abs(bottom - top)});
      if (label) make("text", {class: hue, x: Math.min(left, right), y: Math.max(Math.min(top, bottom), height / 20),
                               "font-size": height / 22}, label);
    });
  };
  if (size) draw();
  else picture.addEventListener("load", draw);
  figure.append(picture, drawing);
  return figure;
}

// The fields of the settings: shows what is wrong while it is written, and fills in examples. `changed` saves.
export function startForms(changed) {
  const check = () => {
    const kind = element("form").value;
    for (const part of document.querySelectorAll(".form-only")) part.hidden = kind === "";
    element("form-examples").hidden = kind !== "schema" && !isOfTools(kind);
    for (const button of element("form-examples").children)
      button.hidden = isOfTools(kind) !== (button.dataset.example === "tools");
    element("form-problem").textContent = formProblem(kind, element("form_text").value);
    element("form_text").setCustomValidity(element("form-problem").textContent);
  };
  element("form").addEventListener("input", check);
  element("form_text").addEventListener("input", check);
  element("form-examples").addEventListener("click", (event) => {
    const name = event.target.dataset.example;
    if (!name) return;
    element("form_text").value = JSON.stringify(examples[name], null, 1);
    check();
    changed();
  });
  check();
  return check;
}
