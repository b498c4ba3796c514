// Asks the server. What goes wrong is an Error whose message is a sentence for a person.

// What the server says of its model: name, version, labels, signatures, thresholds.
export async function describeModel() {
  return asJson(await ask("/page/model.json"));
}

// Asks a signature for one image; the outputs are its own, without the axis of the batch.
export async function predict(model, signature, image, numbers = {}, signal = undefined) {
  const inputs = { image_bytes: [{ b64: image.base64 }], ...numbers };
  const body = JSON.stringify({ signature_name: signature, inputs });
  if (body.length > model.most_bytes) {
    throw new Error(`it has ${Math.round(body.length / 1e6)} MB as it is sent, and the server takes ` +
      `${Math.round(model.most_bytes / 1e6)}; scale it down`);
  }
  const path = `/v1/models/${encodeURIComponent(model.name)}:predict`;
  const response = await ask(path, { method: "POST", body, signal });
  const { outputs } = await asJson(response);
  return Object.fromEntries(Object.entries(outputs).map(([name, values]) => [name, values[0]]));
}

async function ask(path, options = {}) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server doesn't answer; see whether kmax serve still runs");
  }
}

async function asJson(response) {
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`the server answers ${response.status} and nothing that this page understands`);
  }
  if (!response.ok) throw new Error(value.error || `the server answers ${response.status}`);
  return value;
}

// The bytes of a file as base64.
export function asBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("it cannot be read; choose it again"));
    reader.readAsDataURL(file);
  });
}
