/**
 * The SHA-256 of a file, in hexadecimal digits. Browsers have it on https and localhost only; a server on a plain http
 * address in someone's own network must work too, so it is worked out here where it has to be. Pure.
 */

const BLOCK = 64;
/** Bytes after which the page gets its turn. */
const TURN = 1 << 20;

/** The digest of an `ArrayBuffer`. */
export async function sha256(buffer, subtle = globalThis.crypto?.subtle) {
  const digest = subtle ? new Uint8Array(await subtle.digest("SHA-256", buffer)) : await workedOut(new Uint8Array(buffer));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function workedOut(bytes) {
  const state = Uint32Array.from(FIRST_PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
  const whole = bytes.length - (bytes.length % BLOCK);
  for (let at = 0; at < whole; at += BLOCK) {
    if (at % TURN === 0 && at > 0) await new Promise((resolve) => setTimeout(resolve));
    mix(state, new DataView(bytes.buffer, bytes.byteOffset + at, BLOCK));
  }
  const rest = bytes.subarray(whole);
  const end = new Uint8Array(rest.length < BLOCK - 8 ? BLOCK : 2 * BLOCK);
  end.set(rest);
  end[rest.length] = 0x80;
  const view = new DataView(end.buffer);
  view.setUint32(end.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(end.length - 4, (bytes.length << 3) >>> 0);
  for (let at = 0; at < end.length; at += BLOCK) mix(state, new DataView(end.buffer, at, BLOCK));
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, index) => digest.setUint32(index * 4, word));
  return new Uint8Array(digest.buffer);
}

const FIRST_PRIMES = primes(64);
const CONSTANTS = Uint32Array.from(FIRST_PRIMES, (prime) => fraction(Math.cbrt(prime)));
const WORDS = new Uint32Array(BLOCK);

function mix(state, block) {
  for (let i = 0; i < 16; i += 1) WORDS[i] = block.getUint32(i * 4);
  for (let i = 16; i < BLOCK; i += 1) {
    const [x, y] = [WORDS[i - 15], WORDS[i - 2]];
    const s0 = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3);
    const s1 = turned(y, 17) ^ turned(y, 19) ^ (y >>> 10);
    WORDS[i] = WORDS[i - 16] + s0 + WORDS[i - 7] + s1;
  }
  let [a, b, c, d, e, f, g, last] = state;
  for (let i = 0; i < BLOCK; i += 1) {
    const one = (last + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + CONSTANTS[i] + WORDS[i]) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [last, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
  }
  [a, b, c, d, e, f, g, last].forEach((word, index) => (state[index] += word));
}

function turned(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

/** The first 32 bits behind the point. */
function fraction(number) {
  return ((number % 1) * 2 ** 32) >>> 0;
}

function primes(count) {
  const found = [];
  for (let candidate = 2; found.length < count; candidate += 1) if (found.every((prime) => candidate % prime)) found.push(candidate);
  return found;
}
