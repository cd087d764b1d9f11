// Ties the page together: buttons, keys, and one thing at a time.
import {modelName, ServerError, useKey} from "/page/api.js";
import {Chat} from "/page/chat.js";
import {DecodingView} from "/page/decoding.js";
import {Tray} from "/page/pictures.js";
import {race} from "/page/race.js";
import {chosenDecoder, pictureSide, settingsProblem, startSettings} from "/page/settings.js";
import {addThemeButton} from "/page/theme.js";

const element = (id) => document.getElementById(id);
const question = element("question");

let running = null;  // the AbortController of what goes on
let chats = 0;       // that were begun
const view = new DecodingView();
const chat = new Chat(view, sendResults);
const tray = new Tray(element("thumbs"), pictureSide, complain, readAhead);

function complain(sentence) {
  element("problem").textContent = sentence;
  element("problem").hidden = !sentence;
}

function setRunning(controller) {
  running = controller;
  for (const id of ["send", "race"]) element(id).hidden = Boolean(running);
  element("stop").hidden = !running;
}

// While an answer is written, the server has enough to do.
function readAhead() {
  if (!running) chat.readAhead(tray.pictures, chosenDecoder());
}

function explain(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof ServerError)) console.error(error);
  if (error.status === 401) askForKey(error.message);
  else complain(error instanceof ServerError ? error.message : "The page failed: reload it.");
}

let keyGiven = false;

function askForKey(why) {
  if (keyGiven) complain(why);
  element("key-box").hidden = false;
  element("key").focus();
}

// Takes the question from the form, runs `work(text, pictures, signal)`, and puts the question back if that fails.
async function take(work) {
  if (running) return;
  complain(settingsProblem());
  if (!element("problem").hidden) return;
  const text = question.value.trim();
  question.value = "";
  fitQuestion();
  const asked = chats;
  let pictures = [];
  const done = await run(async (signal) => {
    await tray.ready();
    signal.throwIfAborted();
    pictures = tray.take();
    await work(text, pictures, signal);
  });
  if (done || chats !== asked) return;
  question.value = [text, question.value].filter(Boolean).join("\n");  // before what was begun meanwhile
  tray.putBack(pictures);
  fitQuestion();
}

// One thing that Stop ends; says whether it worked.
async function run(work) {
  let done = false;
  setRunning(new AbortController());
  try {
    await work(running.signal);
    done = true;
  } catch (error) {
    explain(error);
  }
  setRunning(null);
  if (tray.pictures.length) readAhead();
  if (element("key-box").hidden) question.focus({preventScroll: true});
  return done;
}

async function sendResults(messages) {
  if (running) return false;
  complain(settingsProblem());
  return element("problem").hidden && run((signal) => chat.answerTo(messages, chosenDecoder(), signal));
}

function send() {
  if (question.value.trim()) return take((text, pictures, signal) => chat.ask(text, pictures, chosenDecoder(), signal));
  if (tray.pictures.length) complain("Ask something about the picture.");
  question.focus();
}

function startRace() {
  if (!question.value.trim() && (chat.empty || tray.pictures.length)) {
    complain("Write a question to race with.");
    question.focus();
    return;
  }
  const decoder = chosenDecoder() === "ar" ? "auto" : chosenDecoder();
  const asked = chats;
  take(async (text, pictures, signal) => {
    await race(text || chat.lastQuestion(), chat.messagesFor(text, pictures), decoder, view, signal);
    if (chats === asked) tray.putBack(pictures);  // the conversation does not have them
  });
}

function fitQuestion() {
  question.style.height = "auto";
  question.style.height = `${Math.min(question.scrollHeight + 2, innerHeight / 3)}px`;
}

async function addFiles(files) {
  complain("");
  const list = [...files];  // the input's own list empties with it
  await tray.add(list);
}

function connectPictures() {
  for (const id of ["files", "camera"]) {
    element(id).addEventListener("change", async (event) => {
      await addFiles(event.target.files);
      event.target.value = "";
      question.focus();
    });
  }
  document.addEventListener("paste", (event) => {
    const into = event.target.closest?.("textarea, input"), types = event.clipboardData?.types ?? [];
    // Office programs copy text with a picture of it; a file manager, a file with its name as plain text.
    const isText = types.includes("text/plain") && (types.includes("text/rtf") || types.includes("text/html"));
    if (!event.clipboardData?.files.length || (into && isText)) return;
    event.preventDefault();
    addFiles(event.clipboardData.files);
  });
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    element("drop").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) element("drop").hidden = true;
  });
  document.addEventListener("drop", (event) => {
    element("drop").hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    addFiles(event.dataTransfer.files);
  });
}

function connectWelcome() {
  element("example").addEventListener("click", async () => {
    let file;
    try {
      file = await (await fetch("/page/desk.png")).blob();
    } catch {
      complain("The server cannot be reached.");
      return;
    }
    await addFiles([new File([file], "desk.png", {type: "image/png"})]);
    element("suggestions").hidden = false;
    question.focus();
  });
  element("suggestions").addEventListener("click", (event) => {
    if (event.target.tagName !== "BUTTON") return;
    question.value = event.target.textContent;
    send();
  });
}

function connectQuestion() {
  element("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  question.addEventListener("input", fitQuestion);
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  element("stop").addEventListener("click", () => running?.abort());
  element("race").addEventListener("click", startRace);
  element("new-chat").addEventListener("click", () => {
    ++chats;
    running?.abort();
    chat.clear();
    tray.ready().catch(() => {}).then(() => tray.take());
    complain("");
    question.focus();
  });
}

async function showModel() {
  try {
    element("model").textContent = await modelName();
  } catch (error) {
    explain(error);
  }
}

function connectKey() {
  const use = () => {
    const key = element("key").value.trim();
    if (!/^[\x21-\x7e]*$/.test(key)) {
      complain("A key has letters, digits and signs of ASCII alone, and no spaces.");
      return;
    }
    keyGiven = key !== "";
    useKey(key);
    element("key").value = "";
    element("key-box").hidden = true;
    complain("");
    question.focus();
    showModel();
  };
  element("key-use").addEventListener("click", use);
  element("key").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();  // it is not the question that is sent
    use();
  });
}

startSettings();
addThemeButton(element("theme"));
connectQuestion();
connectPictures();
connectWelcome();
connectKey();
await showModel();
