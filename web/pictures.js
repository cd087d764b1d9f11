// Pictures on their way into a question: chosen, dropped or pasted, made small enough, shown with a way back.
import {ServerError} from "/page/api.js";

const mostPictures = 16;
const mostBytes = 32 << 20;  // of a file
const sentAsTheyAre = ["image/png", "image/jpeg", "image/webp", "image/bmp"];

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// Where EXIF's data begin in a JPEG, or -1: in an APP1 segment that says Exif. Others hold XMP.
function exifOfJpeg(bytes) {
  for (let at = 2; at + 18 < bytes.byteLength && bytes.getUint8(at) === 0xff; at += 2 + bytes.getUint16(at + 2))
    if (bytes.getUint16(at) === 0xffe1 && bytes.getUint32(at + 4) === 0x45786966) return at + 10;
  return -1;
}

// The same in a PNG: its chunk eXIf.
function exifOfPng(bytes) {
  for (let at = 8; at + 8 < bytes.byteLength; at += 12 + bytes.getUint32(at))
    if (bytes.getUint32(at + 4) === 0x65584966) return at + 8;
  return -1;
}

// Whether a picture says that it lies on its side (EXIF orientation other than 1), which models do not look at and
// browsers do.
async function isTurned(blob) {
  const find = {"image/jpeg": exifOfJpeg, "image/png": exifOfPng}[blob.type];
  if (!find) return false;
  const bytes = new DataView(await blob.slice(0, blob.type === "image/png" ? mostBytes : 1 << 16).arrayBuffer());
  const end = bytes.byteLength, tiff = find(bytes);
  if (tiff < 0 || tiff + 8 > end) return false;
  const little = bytes.getUint16(tiff) === 0x4949;
  const directory = tiff + bytes.getUint32(tiff + 4, little);
  if (directory + 2 > end) return false;
  const count = bytes.getUint16(directory, little);
  for (let i = 0, entry = directory + 2; i < count && entry + 12 <= end; ++i, entry += 12)
    if (bytes.getUint16(entry, little) === 0x0112) return bytes.getUint16(entry + 8, little) !== 1;
  return false;
}

function drawn(bitmap, longest, type) {
  const scale = longest > 0 ? Math.min(1, longest / Math.max(bitmap.width, bitmap.height)) : 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  if (type === "image/jpeg") {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
  }
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return {url: canvas.toDataURL(type, 0.92), width: canvas.width, height: canvas.height};
}

// {name, url, width, height}: the file as a data URL, at most `longest` pixels on its longest side (0: any). A file
// that needs no change is sent byte for byte. Throws Error with a sentence.
export async function loadPicture(file, longest) {
  const name = file.name || "picture";
  if (!file.type.startsWith("image/")) throw new Error(`${name} is not a picture.`);
  if (file.size > mostBytes) throw new Error(`${name} is larger than 32 MB.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${name} is of a kind that this browser cannot read.`);
  }
  try {
    const small = longest === 0 || Math.max(bitmap.width, bitmap.height) <= longest;
    if (small && sentAsTheyAre.includes(file.type) && !(await isTurned(file)))
      return {name, url: await dataUrl(file), width: bitmap.width, height: bitmap.height};
    return {name, ...drawn(bitmap, longest, file.type === "image/jpeg" ? "image/jpeg" : "image/png")};
  } finally {
    bitmap.close();
  }
}

// The pictures beside the question that is being written.
export class Tray {
  pictures = [];
  #loading = Promise.resolve();  // what is being read
  #failed = [];  // why pictures could not be
  #list;
  #longest;
  #complain;
  #onChange;

  // `longest` tells the limit of the longest side, `complain` shows a sentence; `onChange` hears of pictures that the
  // reader has added or removed.
  constructor(list, longest, complain, onChange) {
    this.#list = list;
    this.#longest = longest;
    this.#complain = complain;
    this.#onChange = onChange;
  }

  add(files) {
    this.#loading = this.#loading.then(() => this.#add(files));
    return this.#loading;
  }

  async #add(files) {
    for (const file of files) {
      try {
        if (this.pictures.length >= mostPictures) throw new Error(`A question takes at most ${mostPictures} pictures.`);
        const picture = await loadPicture(file, this.#longest());
        this.pictures.push(picture);  // those that are there now: some may have gone meanwhile
      } catch (error) {
        this.#failed.push(error.message);
        this.#complain(error.message);
      }
    }
    this.#show();
    this.#onChange();
  }

  // Once what was chosen before is read. Throws ServerError where some of it cannot be.
  async ready() {
    const before = this.#failed.length;
    await this.#loading;
    if (this.#failed.length > before) throw new ServerError(this.#failed.at(-1));
  }

  take() {
    const taken = this.pictures;
    this.pictures = [];
    this.#show();
    return taken;
  }

  putBack(pictures) {
    this.pictures = [...pictures, ...this.pictures];
    this.#show();
  }

  #show() {
    this.#list.replaceChildren(...this.pictures.map((picture) => {
      const item = document.createElement("li");
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "×";
      remove.title = `Remove ${picture.name}`;
      remove.setAttribute("aria-label", remove.title);
      remove.addEventListener("click", () => {
        this.pictures = this.pictures.filter((other) => other !== picture);
        this.#show();
        this.#onChange();
        document.getElementById("question").focus();
      });
      item.append(pictureElement(picture), remove);
      return item;
    }));
  }
}

export function pictureElement(picture) {
  const image = document.createElement("img");
  image.src = picture.url;
  image.alt = picture.name;
  image.title = `${picture.name}, ${picture.width} × ${picture.height} as sent`;
  return image;
}
