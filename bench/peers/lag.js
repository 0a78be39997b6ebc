// Writes every time the event loop was late to BENCH_LAG_FILE, see servers/lag.py.
const fs = require("node:fs");

const PERIOD = 0.005;
const REPORTED = 0.002;
const now = () => Number(process.hrtime.bigint()) / 1e9;
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

if (process.env.BENCH_LAG_FILE) {
  const file = fs.openSync(process.env.BENCH_LAG_FILE, "a");
  let due = now() + PERIOD;
  let used = cpu();
  const tick = () => {
    const late = now() - due;
    if (late > REPORTED) fs.writeSync(file, `${now()} ${late} ${cpu() - used}\n`);
    due = now() + PERIOD;
    used = cpu();
    setTimeout(tick, PERIOD * 1000);
  };
  setTimeout(tick, PERIOD * 1000);
}
