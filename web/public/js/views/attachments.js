/** Files of messages: pictures as thumbnails that open large, everything else as a card that saves it. */

import { h, icon, iconButton } from "../dom.js";
import { sizeText } from "../uploads.js";
import { makeDialog } from "./dialog.js";

const SHOWN = /^(image\/(jpeg|png|gif|webp)|audio\/|video\/)/u;
const LARGEST_PX = [360, 260];

/** The nodes of a message's files. `addresses.of(id)` says where they are; `failed(text)` tells that one cannot be had. */
export function attachmentNodes(attachments, addresses, failed) {
  if (attachments.length === 0) return null;
  return h("ul", { class: "attachments", testid: "attachments", "aria-label": "Files" },
    attachments.map((file) => h("li", {}, file.thumbnail ? picture(file, addresses, failed) : card(file, addresses, failed))));
}

function picture(file, addresses, failed) {
  const [width, height] = fitted(file);
  const image = h("img", { class: "thumbnail-image", alt: file.name, width: String(width), height: String(height), decoding: "async" });
  const button = h("button", { type: "button", class: "thumbnail", testid: "thumbnail", "aria-label": `Open ${file.name}`,
    onclick: () => open(file, addresses, failed) }, image);
  // The address is asked for when the picture comes near: a long history has many.
  const seen = new IntersectionObserver(async ([entry]) => {
    if (!entry.isIntersecting) return;
    seen.disconnect();
    const found = await addresses.of(file.id).catch(() => null);
    if (found?.thumbnail_url) image.src = found.thumbnail_url;
    else button.replaceChildren(icon("file"), file.name);
  }, { rootMargin: "400px" });
  seen.observe(button);
  return button;
}

function card(file, addresses, failed) {
  return h("button", { type: "button", class: "file-card", testid: "file-card", onclick: () => open(file, addresses, failed) },
    icon("file"), h("span", { class: "file-name" }, h("strong", {}, file.name), h("small", {}, sizeText(file.size))), icon("save"));
}

async function open(file, addresses, failed) {
  let found = null;
  try {
    found = await addresses.of(file.id);
  } catch (error) {
    return failed(error.message);
  }
  if (!found) return failed("This file is not there any more.");
  const download = h("a", { href: found.url, download: file.name });
  if (!SHOWN.test(file.type)) return download.click();
  const media = file.type.startsWith("image/") ? h("img", { src: found.url, alt: file.name })
    : h(file.type.startsWith("audio/") ? "audio" : "video", { src: found.url, controls: true });
  const dialog = makeDialog("viewer", file.name, h("div", { class: "viewer" }, media),
    h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "button", testid: "viewer-save", onclick: () => download.click() }, icon("save"), "Save")));
  dialog.classList.add("wide");
  dialog.showModal();
}

function fitted({ width = 320, height = 200 }) {
  const scale = Math.min(1, LARGEST_PX[0] / width, LARGEST_PX[1] / height);
  return [Math.max(Math.round(width * scale), 48), Math.max(Math.round(height * scale), 48)];
}

/** A file on its way, in the composer. */
export function uploadNode(upload, remove) {
  const state = upload.state === "failed" ? upload.error : upload.state === "ready" ? sizeText(upload.size) : `${Math.round(upload.progress * 100)} %`;
  return h("li", { class: `upload ${upload.state}`, testid: "upload", "data-state": upload.state },
    icon(upload.state === "failed" ? "alert" : "file"),
    h("span", { class: "file-name" }, h("strong", {}, upload.name), h("small", { role: upload.state === "failed" ? "alert" : null }, state)),
    upload.state === "sending" && h("progress", { max: "1", value: String(upload.progress), "aria-label": `Sending ${upload.name}` }),
    iconButton("close", `Remove ${upload.name}`, { testid: "upload-remove", onclick: remove }));
}
