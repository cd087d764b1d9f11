// Pictures on their way into a question: chosen, dropped or pasted, made small enough, shown with a way back.

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

// Whether a JPEG says that it lies on its side (EXIF orientation other than 1), which models do not look at.
async function isTurned(blob) {
  if (blob.type !== "image/jpeg") return false;
  const bytes = new DataView(await blob.slice(0, 1 << 16).arrayBuffer());
  const end = bytes.byteLength;
  let at = 2;
  while (at + 18 < end && bytes.getUint16(at) !== 0xffe1) {  // APP1
    if (bytes.getUint8(at) !== 0xff) return false;
    at += 2 + bytes.getUint16(at + 2);
  }
  const tiff = at + 10;
  if (tiff + 8 > end || bytes.getUint32(at + 4) !== 0x45786966) return false;  // "Exif"
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
  #list;
  #longest;
  #complain;

  // `longest` tells the limit of the longest side, `complain` shows a sentence.
  constructor(list, longest, complain) {
    this.#list = list;
    this.#longest = longest;
    this.#complain = complain;
  }

  async add(files) {
    for (const file of files) {
      try {
        if (this.pictures.length >= mostPictures) throw new Error(`A question takes at most ${mostPictures} pictures.`);
        this.pictures.push(await loadPicture(file, this.#longest()));
      } catch (error) {
        this.#complain(error.message);
      }
    }
    this.#show();
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
