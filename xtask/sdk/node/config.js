'use strict';
// The full round of configuration through the npm package `nacos`, driven by `cargo xtask sdk config`.
//
// Arguments: address (host:port), round (`ascii` or `chinese`, the letters of ids and groups), seed.
// The questions are described in `xtask/src/sdk/config/questions.rs`, the steps in `xtask/src/sdk/config/steps.rs`.

const assert = require('assert');
const crypto = require('crypto');
const path = require('path');
const { DataClient, NacosConfigClient } = require('nacos');
const { ask, complain, hear, run, say, step } = require('./speech');

const [ADDRESS, ROUND, SEED] = process.argv.slice(2);
const CHINESE = ROUND === 'chinese';
const GROUP = CHINESE ? '配置分组' : 'SDK_GROUP';
const NAMESPACE = `sdk-node-${SEED}`;
const TOLD_WITHIN_MS = 10000;
const MEBIBYTE = 1 << 20;

/** The dataId for one purpose; nothing else in this round or another run uses it. */
function key(what) {
  return CHINESE ? `配置.node.${SEED}.${what}-设置` : `sdk.node.${SEED}.${what}`;
}

function text(what) {
  return `${what}, seed ${SEED}` + (CHINESE ? '：中文' : '');
}

function md5(content) {
  return crypto.createHash('md5').update(content, 'utf8').digest('hex');
}

function short(content) {
  return typeof content === 'string' && content.length > 60
    ? JSON.stringify(content.slice(0, 57) + '...')
    : JSON.stringify(content);
}

let clients = 0;

/** The client behind the package's own check, which lets no Chinese id pass. */
function unchecked(options) {
  const client = new DataClient(options);
  client.on('error', complain);
  return client.getClient();
}

/** A client of its own with a cache folder of its own, so that no snapshot of another can answer. */
class Client {
  constructor(namespace = '') {
    clients += 1;
    const name = `client-${clients}`;
    const options = { serverAddr: ADDRESS, namespace, cacheDir: path.join(process.cwd(), name) };
    if (CHINESE) {
      this.api = unchecked(options);
    } else {
      // Clients with one end point share one connection, and with it the namespace of the first: each gets its
      // own. Nothing is asked there, since the server's address is given.
      this.api = new NacosConfigClient({ ...options, endpoint: name });
      this.api.on('error', complain);
    }
  }

  async publish(dataId, content, options) {
    assert.strictEqual(await this.api.publishSingle(dataId, GROUP, content, options), true);
  }

  async read(dataId) {
    return this.api.getConfig(dataId, GROUP);
  }

  /** Reads until `content` is there: Nacos promises a publish to readers soon, not at once. */
  async readSoon(dataId, content) {
    const begun = performance.now();
    for (;;) {
      const seen = await this.read(dataId);
      const ms = Math.round(performance.now() - begun);
      if (seen === content) return ms;
      assert(ms < TOLD_WITHIN_MS, `read ${short(seen)} instead of ${short(content)}`);
    }
  }

  async remove(dataId) {
    assert.strictEqual(await this.api.remove(dataId, GROUP), true);
  }

  /** Listens, and awaits what this package tells every new listener: the present content, here `current`. */
  async listen(dataId, current) {
    const listener = new Listener();
    this.api.subscribe({ dataId, group: GROUP }, content => listener.tell(content));
    await listener.expect(current, performance.now());
    return listener;
  }
}

/** All that a listener is told, in order. */
class Listener {
  constructor() {
    this.told = [];
    this.waiting = null;
  }

  tell(content) {
    this.told.push({ at: performance.now(), content });
    if (this.waiting) this.waiting();
  }

  /** The next thing told must be `content`; gives the milliseconds since `since`. */
  async expect(content, since) {
    if (this.told.length === 0) {
      await new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          this.waiting = null;
          reject(new Error(`not told within ${TOLD_WITHIN_MS} ms`));
        }, TOLD_WITHIN_MS);
        this.waiting = () => {
          clearTimeout(late);
          this.waiting = null;
          resolve();
        };
      });
    }
    const { at, content: seen } = this.told.shift();
    assert(seen === content, `told of ${short(seen)} instead of ${short(content)}`);
    return Math.max(0, Math.round(at - since));
  }

  expectNothing() {
    assert(this.told.length === 0, 'told of something that did not happen');
  }
}

/** Waits until the server holds our long poll for this key with the MD5 of this content. */
async function parked(dataId, content, namespace = '') {
  const answer = await ask('listened', namespace || '-', GROUP, dataId, content === null ? '-' : md5(content));
  assert.strictEqual(answer, 'yes', 'the server holds no long poll for it');
}

/** A mebibyte that depends on the seed alone. */
function mebibyte() {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789 =&%+\n';
  const bytes = Buffer.alloc(MEBIBYTE);
  let state = crypto.createHash('md5').update(SEED).digest().readUInt32LE(0);
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = alphabet.charCodeAt((state >>> 16) % alphabet.length);
  }
  return bytes.toString('latin1');
}

async function main() {
  say('client', require('nacos/package.json').version);
  const client = new Client();
  const spaced = new Client(NAMESPACE);
  await client.api.ready();
  await spaced.api.ready();
  const large = mebibyte();
  const special = ' a=1&b=2%20+c;d#e?f\r\n\tline "quoted" \'single\' <tag> \\ end \n';
  const chinese = '中文内容：配置管理，标点。\n第二行 😀 end';
  const listener = {};

  const roundTrip = async (what, content, options) => {
    await client.publish(key(what), content, options);
    await client.readSoon(key(what), content);
  };

  await step('read-missing', async () => {
    const seen = await client.read(key('missing'));
    assert(seen === null, `read ${short(seen)}`);
    assert.strictEqual(await ask('status', '-', GROUP, key('missing')), '404');
  });
  await step('publish', () => client.publish(key('plain'), text('first')));
  await step('read', () => client.readSoon(key('plain'), text('first')));
  await step('special-characters', () => roundTrip('special', special));
  await step('chinese-content', () => roundTrip('content', chinese));
  await step('one-mebibyte', () => roundTrip('large', large));
  await step('type', async () => {
    await roundTrip('typed', '{"a":1}', { type: 'json' });
    assert.strictEqual(await ask('type', '-', GROUP, key('typed')), 'json');
  });

  await step('told-of-change', async () => {
    listener.plain = await client.listen(key('plain'), text('first'));
    listener.later = await client.listen(key('later'), null);
    await parked(key('plain'), text('first'));
    await client.publish(key('plain'), text('second'));
    return listener.plain.expect(text('second'), performance.now());
  });
  await step('told-of-creation', async () => {
    await parked(key('later'), null);
    await client.publish(key('later'), text('created'));
    return listener.later.expect(text('created'), performance.now());
  });
  await step('told-of-removal', async () => {
    await parked(key('later'), text('created'));
    await client.remove(key('later'));
    return listener.later.expect(null, performance.now());
  });

  await step('namespace-apart', async () => {
    const hidden = await spaced.read(key('plain'));
    assert(hidden === null, `another namespace shows ${short(hidden)}`);
    await spaced.publish(key('plain'), text('spaced'));
    await spaced.readSoon(key('plain'), text('spaced'));
    const seen = await client.read(key('plain'));
    assert(seen === text('second'), `public shows ${short(seen)}`);
  });
  await step('namespace-told', async () => {
    listener.spaced = await spaced.listen(key('plain'), text('spaced'));
    await parked(key('plain'), text('spaced'), NAMESPACE);
    await spaced.publish(key('plain'), text('spaced again'));
    const ms = await listener.spaced.expect(text('spaced again'), performance.now());
    listener.plain.expectNothing();
    return ms;
  });

  if (!CHINESE) {
    await step('chinese-id-refused', async () => {
      const chineseId = `配置.node.${SEED}`;
      // By the package itself, and by the server where the package lets it pass.
      await assert.rejects(client.api.publishSingle(chineseId, GROUP, text('refused')), /only allow/);
      // It repeats a refused request, without a pause, for as long as its time-out: a short one here.
      const hasty = unchecked({ serverAddr: ADDRESS, requestTimeout: 300 });
      await assert.rejects(hasty.publishSingle(chineseId, GROUP, text('refused')), /Status: 400/);
      await assert.rejects(hasty.publishSingle(key('refused'), '配置分组', text('refused')), /Status: 400/);
    });
  }

  say('restart-please');
  if ((await hear()) === 'restarted') {
    await step('after-restart-read', async () => {
      // New clients: nothing that the old ones kept on disk can answer.
      const fresh = new Client();
      const contents = { plain: text('second'), special, content: chinese, large, later: null };
      for (const [what, content] of Object.entries(contents)) {
        const seen = await fresh.read(key(what));
        assert(seen === content, `${what}: read ${short(seen)} instead of ${short(content)}`);
      }
      const seen = await new Client(NAMESPACE).read(key('plain'));
      assert(seen === text('spaced again'), `another namespace shows ${short(seen)}`);
    });
    await step('after-restart-told', async () => {
      await client.publish(key('plain'), text('third'));
      const ms = await listener.plain.expect(text('third'), performance.now());
      listener.later.expectNothing();
      listener.spaced.expectNothing();
      return ms;
    });
  }

  await step('remove', async () => {
    for (const what of ['plain', 'special', 'content', 'large', 'typed']) {
      await client.remove(key(what));
      await client.readSoon(key(what), null);
      assert.strictEqual(await ask('status', '-', GROUP, key(what)), '404', `${what} is still answered`);
    }
    await spaced.remove(key('plain'));
    await spaced.readSoon(key('plain'), null);
  });
  say('done');
}

run(main);
