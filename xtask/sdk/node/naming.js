'use strict';
// The full round of service discovery through the npm package `nacos`, driven by `cargo xtask sdk naming`.
//
// Arguments: address (host:port), `round` or `victim` (who only registers, beats and is killed), seed.
// The questions are described in `xtask/src/sdk/naming/questions.rs`, the steps in `xtask/src/sdk/naming/steps.rs`.

const assert = require('assert');
const net = require('net');
const os = require('os');

// The package wants to be told of changes at the first address that is not of loopback: it is to find no other.
os.networkInterfaces = () => ({ eth0: [{ address: '127.0.0.1', family: 'IPv4', internal: false }] });
const { NacosNamingClient } = require('nacos');
const { ask, complain, hear, run, say, step } = require('./speech');

const [ADDRESS, ROUND, SEED] = process.argv.slice(2);
const GROUP = 'DEFAULT_GROUP';
const OTHER_GROUP = 'SDK_GROUP';
const NAMESPACE = `sdk-node-${SEED}`;
const SOON_MS = 3000;
const GONE_MS = 60000;
const METADATA = { 区域: '华东一区', note: 'a=1&b 中文，标点 + %20' };
const MUCH = { much: '很多'.repeat(400) };

/** The service for one purpose; nothing else in this round or another run uses it. */
function service(what) {
  return `sdk.node.${SEED}.${what}`;
}

function address(number) {
  return { ip: `127.0.2.${number}`, port: 8000 + number };
}

/** An instance as xtask words it. */
function line(metadata, { cluster = 'DEFAULT', weight = 1, health = 'healthy', kind = 'ephemeral' } = {}) {
  const sorted = Object.fromEntries(Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${cluster} ${weight} ${health} ${kind} ${JSON.stringify(sorted)}`;
}

/** An instance as plain HTTP shows it. */
async function shown(what, number, { group = GROUP, namespace = '-' } = {}) {
  const { ip, port } = address(number);
  return ask('instance', namespace, group, service(what), ip, port);
}

/** A change behind the package's back. */
async function changed(how, what, number, ...parameters) {
  const { ip, port } = address(number);
  assert.strictEqual(await ask(how, '-', GROUP, service(what), ip, port, ...parameters), 'ok');
}

function pause(ms) {
  return new Promise(resolve => setTimeout(resolve, ms));
}

/** Reads until it is as wanted, for Nacos promises it soon. */
async function soon(read, wanted, withinMs = SOON_MS) {
  const begun = performance.now();
  for (;;) {
    const seen = await read();
    const ms = Math.round(performance.now() - begun);
    if (JSON.stringify(seen) === JSON.stringify(wanted)) return;
    assert(ms < withinMs, `${JSON.stringify(seen)} instead of ${JSON.stringify(wanted)} for ${ms} ms`);
    await pause(20);
  }
}

class Client {
  constructor(namespace = 'public') {
    const logger = { debug() {}, info() {}, warn: line => process.stderr.write(`${line}\n`), error: complain };
    this.api = new NacosNamingClient({ logger, serverList: ADDRESS, namespace });
    this.api.on('error', complain);
  }

  async register(what, number, metadata, { group = GROUP, ...more } = {}) {
    await this.api.registerInstance(service(what), { ...address(number), metadata, ...more }, group);
  }

  async deregister(what, number) {
    await this.api.deregisterInstance(service(what), address(number), GROUP);
  }

  /** The last parts of the addresses that the server lists; the package keeps its last list for an empty one. */
  async numbers(what, { group = GROUP, clusters = '' } = {}) {
    return numbers(await this.api.getAllInstances(service(what), group, clusters, false));
  }
}

function numbers(hosts) {
  return hosts.map(host => Number(host.ip.split('.')[3])).sort((a, b) => a - b);
}

function find(hosts, number) {
  return hosts.find(host => host.ip === address(number).ip);
}

/** All that a subscriber is told, in order. */
class Listener {
  constructor(client, what) {
    this.told = [];
    client.api.subscribe({ serviceName: service(what), groupName: GROUP }, hosts => {
      this.told.push({ at: performance.now(), hosts });
    });
  }

  /** Waits until told of a list of which something holds; gives the milliseconds since `since`. */
  async expect(isSo, since) {
    const heard = [];
    while (performance.now() < since + SOON_MS) {
      const { at, hosts } = this.told.shift() ?? {};
      if (hosts && isSo(hosts)) return Math.max(0, Math.round(at - since));
      if (hosts) heard.push(numbers(hosts).join('+'));
      else await pause(2);
    }
    throw new Error(`not told within ${SOON_MS} ms, but of [${heard}]`);
  }
}

async function victim() {
  const client = new Client();
  await client.api.ready();
  await client.register('kept', 99, METADATA);
  const { ip, port } = address(99);
  say('registered', '-', GROUP, service('kept'), ip, port);
  await hear();
}

async function round() {
  say('client', require('nacos-naming/package.json').version);
  const client = new Client();
  const spaced = new Client(NAMESPACE);
  // Who once asked for a list without subscribing is never subscribed to it: who is told, asks for nothing else.
  const watcher = new Client();
  for (const one of [client, spaced, watcher]) await one.api.ready();
  let listener;
  // Something that a persistent instance's health check can connect to.
  const socket = net.createServer(connection => connection.on('error', () => {}).end());
  await new Promise(resolve => socket.listen(0, address(7).ip, resolve));
  const lasting = { ip: address(7).ip, port: socket.address().port, ephemeral: false };
  const shownLasting = () => ask('instance', '-', GROUP, service('lasting'), lasting.ip, lasting.port);

  await step('server-status', async () => assert.strictEqual(await client.api.getServerStatus(), 'UP'));
  await step('register', async () => {
    await client.register('kept', 1, METADATA);
    await client.register('plain', 1, {});
    await client.register('plain', 2, METADATA, { weight: 1.5 });
    await soon(() => shown('kept', 1), line(METADATA));
    await watcher.api.getAllInstances(service('kept'));
    await soon(() => shown('plain', 1), line({}));
    await soon(() => shown('plain', 2), line(METADATA, { weight: 1.5 }));
  });
  await step('query', async () => {
    const hosts = await client.api.getAllInstances(service('plain'), GROUP, '', false);
    const { port, weight, healthy, ephemeral, enabled, metadata } = find(hosts, 2) ?? {};
    assert.deepStrictEqual(
      { port, weight, healthy, ephemeral, enabled, metadata },
      { port: address(2).port, weight: 1.5, healthy: true, ephemeral: true, enabled: true, metadata: METADATA },
    );
  });
  await step('query-cluster', async () => {
    await client.register('plain', 3, METADATA, { clusterName: 'east' });
    await soon(() => client.numbers('plain'), [1, 2, 3]);
    await soon(() => client.numbers('plain', { clusters: 'east' }), [3]);
    await soon(() => client.numbers('plain', { clusters: 'DEFAULT' }), [1, 2]);
  });
  await step('query-healthy', async () => {
    await changed('register', 'plain', 4, 'healthy=false');
    await soon(() => shown('plain', 4), line({}, { health: 'unhealthy' }));
    await soon(() => client.numbers('plain'), [1, 2, 3, 4]);
    const select = async healthy => {
      return numbers(await client.api.selectInstances(service('plain'), GROUP, '', healthy, false));
    };
    await soon(() => select(true), [1, 2, 3]);
    await soon(() => select(false), [4]);
  });

  await step('subscribed', async () => {
    listener = new Listener(watcher, 'plain');
    await listener.expect(hosts => find(hosts, 2), performance.now());
    assert.strictEqual(await ask('subscribed', '-', GROUP, service('plain')), 'yes');
  });
  await step('told-of-instance', async () => {
    const begun = performance.now();
    await changed('register', 'plain', 5);
    return listener.expect(hosts => find(hosts, 5), begun);
  });
  await step('told-of-much', async () => {
    const begun = performance.now();
    await changed('register', 'plain', 6, `metadata=${JSON.stringify(MUCH)}`);
    return listener.expect(hosts => find(hosts, 6)?.metadata.much === MUCH.much, begun);
  });
  await step('told-of-departure', async () => {
    const begun = performance.now();
    await changed('deregister', 'plain', 5);
    return listener.expect(hosts => !find(hosts, 5), begun);
  });
  await step('told-of-update', async () => {
    const updated = { ...METADATA, 版本: '二' };
    const begun = performance.now();
    // The package has no call for it but to register once more.
    await client.register('plain', 2, updated, { weight: 3 });
    const isSo = host => host?.weight === 3 && host.metadata.版本 === '二';
    const ms = await listener.expect(hosts => isSo(find(hosts, 2)), begun);
    await soon(() => shown('plain', 2), line(updated, { weight: 3 }));
    return ms;
  });
  await step('other-group', async () => {
    await client.register('plain', 10, METADATA, { group: OTHER_GROUP });
    await soon(() => client.numbers('plain', { group: OTHER_GROUP }), [10]);
    await soon(() => shown('plain', 10, { group: OTHER_GROUP }), line(METADATA));
    assert.strictEqual(await shown('plain', 10), 'none', 'it is listed in the other group too');
  });
  await step('other-namespace', async () => {
    await spaced.register('plain', 11, METADATA);
    await soon(() => spaced.numbers('plain'), [11]);
    await soon(() => shown('plain', 11, { namespace: NAMESPACE }), line(METADATA));
    assert.strictEqual(await shown('plain', 11), 'none', 'it is listed in the public namespace too');
  });
  await step('service-list', async () => {
    // The package's own part, which its public one passes nothing on to.
    const { count, data } = await client.api._serverProxy.getServiceList(1, 500, GROUP);
    assert(data.includes(service('plain')) && count >= data.length, `listed are ${count}: ${data}`);
    const spacedOnes = await spaced.api._serverProxy.getServiceList(1, 10, GROUP);
    assert.deepStrictEqual(spacedOnes, { count: 1, data: [service('plain')] });
  });
  await step('persistent-register', async () => {
    await client.api.registerInstance(service('lasting'), { ...lasting, metadata: METADATA }, GROUP);
    await soon(shownLasting, line(METADATA, { kind: 'persistent' }));
  });
  await step('deregister', async () => {
    const begun = performance.now();
    await client.deregister('plain', 2);
    const ms = await listener.expect(hosts => !find(hosts, 2), begun);
    await soon(() => shown('plain', 2), 'none');
    return ms;
  });

  // The other process of this program is killed.
  const killed = await ask('kill');
  const lastBeat = performance.now() - Number(killed);
  const untilKilled = async isSo => {
    assert(Number.isFinite(lastBeat), killed);
    // As an application sees it: what was pushed last.
    while (!isSo(find(await watcher.api.getAllInstances(service('kept')), 99))) {
      assert(performance.now() < lastBeat + GONE_MS, `not seen within ${GONE_MS} ms`);
      await pause(50);
    }
    return Math.round(performance.now() - lastBeat);
  };
  await step('killed-unhealthy', () => untilKilled(host => host && !host.healthy));
  await step('killed-gone', () => untilKilled(host => !host));
  await step('stays-away', async () => assert.strictEqual(await shown('plain', 2), 'none', 'it is back'));
  await step('persistent-stays', () => soon(shownLasting, line(METADATA, { kind: 'persistent' })));

  say('restart-please');
  if ((await hear()) === 'restarted') {
    const begun = performance.now();
    await step('after-restart-persistent', async () => {
      await soon(shownLasting, line(METADATA, { kind: 'persistent' }));
      const hosts = await new Client().api.getAllInstances(service('lasting'), GROUP, '', false);
      assert.deepStrictEqual(hosts.map(host => host.metadata), [METADATA]);
    });
    await step('after-restart-back', async () => {
      await soon(() => shown('kept', 1), line(METADATA), 15000);
      await soon(() => shown('plain', 3), line(METADATA, { cluster: 'east' }), 15000);
      return Math.round(performance.now() - begun);
    });
    await step('after-restart-told', async () => {
      assert.strictEqual(await ask('subscribed', '-', GROUP, service('plain')), 'yes');
      const begun = performance.now();
      await changed('register', 'plain', 5);
      return listener.expect(hosts => find(hosts, 5), begun);
    });
  }

  await step('persistent-deregister', async () => {
    await client.api.deregisterInstance(service('lasting'), lasting, GROUP);
    await soon(shownLasting, 'none');
  });
  say('done');
}

run(ROUND === 'round' ? round : victim);
