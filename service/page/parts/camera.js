import { html, signal, useEffect, useRef, useState } from "../vendor/preact.js";
import { count } from "../words.js";
import { Dialog, Icon } from "./dialog.js";

/** Where its pictures go: a class's id, or "ask"; null while it is off. */
export const cameraFor = signal(null);

export const openCamera = (destination) => (cameraFor.value = destination);

/** Takes pictures until it is closed. */
export function CameraDialog({ workspace }) {
  const video = useRef(null);
  const [taken, setTaken] = useState(0);
  const [ready, setReady] = useState(false);
  const [trouble, setTrouble] = useState(null);
  const destination = cameraFor.value;
  const its = workspace.classOf(destination);
  useEffect(() => {
    let stream = null;
    let left = false;
    open()
      .then((opened) => {
        stream = opened;
        if (left) stop(stream);
        else video.current.srcObject = stream;
      })
      .catch((error) => setTrouble(wordsFor(error)));
    return () => {
      left = true;
      stop(stream);
    };
  }, []);
  const take = async () => {
    const file = await still(video.current, taken + 1);
    setTaken(taken + 1);
    if (its) workspace.add(its.id, [file]);
    else workspace.ask([file]);
  };
  return html`
    <${Dialog} title=${its ? `Camera: pictures of “${its.name}”` : "Camera: what is this?"} class="camera" onClose=${() => (cameraFor.value = null)}>
      ${trouble
        ? html`<p role="alert">${trouble}</p>`
        : html`
            <video ref=${video} autoplay playsinline muted aria-label="What the camera sees" onLoadedData=${() => setReady(true)}></video>
            <div class="buttons">
              <span role="status">${taken ? `${count(taken, "picture")} taken` : "Turn it a little between pictures."}</span>
              <button type="button" class="main" disabled=${!ready} onClick=${take}><${Icon} name="camera" />Take a picture</button>
            </div>
          `}
    <//>
  `;
}

/** Browsers show a camera to pages on https and localhost alone. */
async function open() {
  if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
  return navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
}

const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());

function wordsFor({ name }) {
  if (name === "SecurityError")
    return "Browsers let a page use the camera on https:// or localhost alone. Open this page so, or choose “Files”: phones offer their camera there.";
  if (name === "NotAllowedError") return "The browser was told not to show the camera to this page. Allow it in the address bar, then try again.";
  if (name === "NotFoundError") return "There is no camera on this device.";
  return "The camera cannot be used now. Perhaps another program has it: close that, then try again.";
}

async function still(video, number) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  const stamp = new Date().toISOString().slice(11, 19).replaceAll(":", "-");
  return new File([blob], `camera-${stamp}-${number}.jpg`, { type: "image/jpeg" });
}
