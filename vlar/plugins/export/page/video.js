// Frames of a recording or a camera at given times, in seconds after the first frame.

import { fromCanvas, fromPlanes, readable } from "./pixels.js";

const SLACK_S = 1.5e-6; // a browser rounds times to microseconds
const CAMERA_S = 4; // what is judged of a camera: as long as a window of a library

const happens = (target, name) => new Promise((done, fail) => {
  target.addEventListener(name, done, { once: true });
  target.addEventListener("error", () => fail(new Error(`this browser cannot play it (${target.error?.message || "unknown format"})`)), { once: true });
});

// The picture at a time; a busy browser shows the one before for a moment after a seek.
async function shownAt(video, time_s) {
  for (let tries = 0; ; tries++) {
    const frame = new VideoFrame(video), at_s = frame.timestamp / 1e6;
    if (tries === 40 || (at_s <= time_s && time_s < at_s + (frame.duration ?? 0) / 1e6 + 1e-6)) return frame;
    frame.close();
    await new Promise((done) => setTimeout(done, 10));
  }
}

async function rgb(video, frame, shorter, untagged) {
  const picture = readable(frame) ? await fromPlanes(frame, shorter, untagged) : fromCanvas(video, video.videoWidth, video.videoHeight, shorter);
  frame.close();
  return picture;
}

// Whether an MP4 states no colours: a browser guesses them by the height, FFmpeg takes BT.601.
async function statesNoColour(file) {
  const ends = new Blob([file.slice(0, 4e6), file.slice(-4e6)]), text = new TextDecoder("latin1").decode(await ends.arrayBuffer());
  return text.slice(4, 8) === "ftyp" && !text.includes("colr");
}

// A file: { duration_s, frame(t), close() }.
export async function openFile(file, shorter) {
  const video = document.createElement("video"), url = URL.createObjectURL(file);
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: url });
  await happens(video, "loadeddata");
  const untagged = await statesNoColour(file);
  const show = async (time_s) => {
    const seeked = happens(video, "seeked");
    video.currentTime = time_s;
    await seeked;
    return shownAt(video, time_s);
  };
  const first = await show(0), first_s = first.timestamp / 1e6;
  const last = await show(video.duration - 1e-4); // of all streams: the last picture states its own end
  const end_s = (last.timestamp + (last.duration ?? 4e4)) / 1e6;
  for (const frame of [first, last]) frame.close();
  return {
    duration_s: end_s - first_s,
    async frame(time_s) {
      const frame = await show(first_s + time_s + SLACK_S), shown_s = frame.timestamp / 1e6 - first_s;
      return { picture: await rgb(video, frame, shorter, untagged), time_s: shown_s };
    },
    close: () => { video.removeAttribute("src"); URL.revokeObjectURL(url); },
  };
}

// The next seconds of a camera: its frames are taken first and judged then.
export async function openCamera(video, shorter, frames) {
  const begin = performance.now(), taken = [];
  for (let n = 0; n < frames; n++) {
    const at_s = ((n + 0.5) * CAMERA_S) / frames;
    await new Promise((done) => setTimeout(done, Math.max(0, at_s * 1000 - (performance.now() - begin))));
    taken.push({ picture: await rgb(video, new VideoFrame(video), shorter), time_s: at_s });
  }
  const nearest = (time_s) => Math.min(frames - 1, Math.max(0, Math.floor((time_s * frames) / CAMERA_S)));
  return { duration_s: CAMERA_S, frame: async (time_s) => taken[nearest(time_s)], close() {} };
}
