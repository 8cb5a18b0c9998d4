'use strict';
// The words that the programs here speak with `cargo xtask sdk`; `xtask/src/sdk/conversation.rs` describes them.

const readline = require('readline');

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function say(...words) {
  process.stdout.write(words.join(' ') + '\n');
}

async function hear() {
  const { value, done } = await lines.next();
  // Whoever drives us is gone.
  if (done) process.exit(1);
  return value.trim();
}

async function ask(...words) {
  say('ask', ...words);
  return hear();
}

/** Runs `body` and reports it; what it returns is a time in milliseconds or nothing. */
async function step(name, body) {
  try {
    const ms = await body();
    say('step', name, 'ok', ...(ms === undefined ? [] : [ms]));
  } catch (error) {
    say('step', name, 'FAILED', `${error.name}: ${error.message}`.replace(/\s+/g, ' '));
  }
}

/** What a library says of itself goes to standard error. */
function complain(error) {
  process.stderr.write(`${error.name}: ${error.message}\n`);
}

/** Runs the program to its end. */
function run(main) {
  main().then(
    () => process.exit(0),
    error => {
      process.stderr.write(`${error.stack}\n`);
      process.exit(1);
    },
  );
}

module.exports = { ask, complain, hear, run, say, step };
