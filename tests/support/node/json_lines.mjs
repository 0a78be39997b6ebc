// JSON lines with binary data in them, as `{"$binary": base64}`.
const packed = (value) => {
  if (Buffer.isBuffer(value)) return { $binary: value.toString("base64") };
  if (value instanceof ArrayBuffer) return packed(Buffer.from(value));
  if (Array.isArray(value)) return value.map(packed);
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, packed(item)]));
  return value;
};
export const unpacked = (value) => {
  if (Array.isArray(value)) return value.map(unpacked);
  if (value && typeof value === "object")
    return "$binary" in value
      ? Buffer.from(value.$binary, "base64")
      : Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unpacked(item)]));
  return value;
};
export const say = (message) => process.stdout.write(JSON.stringify(packed(message)) + "\n");
