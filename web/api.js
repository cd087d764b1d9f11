// The server's API: questions out, server-sent events in.

export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const keyName = "dvlm.key";
const longestEvent = 1 << 24;  // characters
let key = "";
let reports = true;  // passes and progress, until the server says that it does not know these fields

try {
  key = sessionStorage.getItem(keyName) ?? "";
} catch {
  // storage may be forbidden
}

export function useKey(value) {
  key = value;
  try {
    sessionStorage.setItem(keyName, value);
  } catch {
    // then it is forgotten with the page
  }
}

async function request(path, options = {}) {
  const headers = {...options.headers};
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, {...options, headers, cache: "no-store"});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached.");
  }
  if (response.ok) return response;
  let message = `The server answered with status ${response.status}.`;
  try {
    message = (await response.json()).error.message || message;
  } catch {
    // not from this server: the status says what is known
  }
  throw new ServerError(String(message), response.status);
}

// The name of the model that is served.
export async function modelName() {
  const list = await (await request("/v1/models")).json();
  return String(list?.data?.[0]?.id ?? "");
}

// Splits a stream of text into the data of its events (https://html.spec.whatwg.org/#server-sent-events).
export class EventSplitter {
  #rest = "";
  #data = [];

  // Returns the data of the events that `text` completes.
  push(text) {
    this.#rest += text;
    const out = [];
    for (;;) {
      const end = this.#rest.search(/[\r\n]/);
      // A \r at the very end may be half of a \r\n.
      if (end < 0 || (this.#rest[end] === "\r" && end + 1 === this.#rest.length)) break;
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + (this.#rest.startsWith("\r\n", end) ? 2 : 1));
      if (line === "") {
        if (this.#data.length) out.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    if (this.#rest.length > longestEvent) throw new ServerError("The server sent an event without an end.");
    return out;
  }
}

async function readEvents(response, onEvent) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const splitter = new EventSplitter();
  const ended = "The connection ended before the answer did.";
  const read = async () => {
    try {
      return await reader.read();
    } catch (error) {
      throw error.name === "AbortError" ? error : new ServerError(ended);
    }
  };
  for (;;) {
    const {done, value} = await read();
    if (done) throw new ServerError(ended);
    for (const data of splitter.push(decoder.decode(value, {stream: true}))) {
      if (data === "[DONE]") return;
      let event;
      try {
        event = JSON.parse(data);
      } catch {
        throw new ServerError("The server sent an event that is not JSON.");
      }
      if (event?.error) throw new ServerError(String(event.error.message ?? event.error));
      onEvent(event);
    }
  }
}

// Asks, and calls onEvent with each chunk of the answer. `fields`: of the request, beside messages. Throws
// ServerError with a sentence, or an AbortError when `signal` says so.
export async function ask(messages, fields, signal, onEvent) {
  const send = () => {
    const dvlm = reports ? {...fields.dvlm, passes: true, progress: true} : fields.dvlm;
    const body = {...fields, dvlm, messages, stream: true, stream_options: {include_usage: true}};
    return request("/v1/chat/completions",
                   {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body), signal});
  };
  let response;
  try {
    response = await send();
  } catch (error) {
    if (error.status !== 400 || !reports || !/passes|progress/.test(error.message)) throw error;
    reports = false;
    response = await send();
  }
  await readEvents(response, onEvent);
}
