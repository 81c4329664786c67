// Search in pages that are opened from a folder: a browser starts no worker there, so a frame takes its place.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      const script = frame.contentDocument.createElement("script")
      const loaded = new Promise(done => script.addEventListener("load", done))
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.postMessage = data => loaded.then(() => inside.dispatchEvent(new inside.MessageEvent("message", { data })))
      script.src = address
      frame.contentDocument.body.append(script)
    }
    terminate() {}
    set onmessage(handler) { this.addEventListener("message", handler) }
  }
