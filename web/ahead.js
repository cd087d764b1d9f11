// What is known of a question is read while the rest of it is written: its pictures take longest.
import {ask} from "/page/api.js";

export class ReadAhead {
  #reading = null;  // {controller, done, onEvent}

  // The server reads the messages, writes nothing and keeps what it has read. What is wrong the question will tell.
  begin(messages, fields) {
    this.stop();
    const reading = {controller: new AbortController(), onEvent: () => {}};
    const hear = (event) => reading.onEvent(event);
    reading.done = ask(messages, {...fields, max_tokens: 0}, reading.controller.signal, hear).catch(() => {});
    this.#reading = reading;
  }

  stop() {
    this.#reading?.controller.abort();
    this.#reading = null;
  }

  // Waits until all is read; `onEvent` hears how far that is. `signal` stops it, which throws an AbortError.
  async finish(signal, onEvent) {
    const reading = this.#reading;
    if (!reading) return;
    reading.onEvent = onEvent;
    const stop = () => reading.controller.abort();
    signal.addEventListener("abort", stop);
    await reading.done;
    signal.removeEventListener("abort", stop);
    if (this.#reading === reading) this.#reading = null;
    signal.throwIfAborted();
  }
}
