// The socket to the server: JSON goes out, JSON and pictures come in.

/** Opens the socket; `on` has a function for each type of message, and `closed`. */
export function connect(on) {
  const socket = new WebSocket(`ws://${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => {
    const message = typeof data === "string" ? JSON.parse(data) : split(data);
    on[message.type](message);
  });
  socket.addEventListener("close", () => on.closed());
  return (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };
}

/** The JSON at the head of a message of bytes, with the bytes behind it as `body`. */
function split(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  return { ...JSON.parse(head), body: new Uint8Array(buffer, 4 + length) };
}
