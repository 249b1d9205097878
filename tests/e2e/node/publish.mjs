// Publishes numbered readings with MQTT.js: node publish.mjs '{"port": 1884, "version": 5, "qos": 1, "client": "a", …}'
// Ends when all are acknowledged. `every_ms` slows it down; `keep` asks for a
// session that outlives the connection, in which MQTT.js sends again what was not acknowledged.
import mqtt from 'mqtt';

const options = JSON.parse(process.argv[2]);
const client = mqtt.connect({
  host: '127.0.0.1',
  port: options.port,
  protocolVersion: options.version,
  clientId: options.client,
  clean: !options.keep,
  reconnectPeriod: 50,
  connectTimeout: 5000,
  ...(options.version === 5 && options.keep ? {properties: {sessionExpiryInterval: 3600}} : {}),
});
client.on('error', (error) => console.error(String(error)));
const publish = (seq) => new Promise((resolve, reject) => {
  client.publish(options.topic, JSON.stringify({seq, temperature: 60 + seq % 7}), {qos: options.qos}, (error) => {
    if (error) return reject(error);
    resolve();
  });
});
client.once('connect', async () => {
  const open = [];
  for (let seq = 0; seq < options.count; ++seq) {
    open.push(publish(seq));
    if (options.every_ms) await new Promise((next) => setTimeout(next, options.every_ms));
  }
  await Promise.all(open);
  client.end(false, {}, () => process.exit(0));
});
