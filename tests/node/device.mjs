// A device built with the vendor's Link SDK for Node.js, behind lines of JSON.
// The first argument is {productKey, deviceName, deviceSecret, brokerUrl, services: {identifier: {type: "sync" | "async",
// data: {…}, held: bool}}}. It answers every RRPC with the request behind `echo:`, one that is a call of a service with its
// data; one that is held only on a line {release: [indices]}. It says what happens to it. On a line {publish: topic, payload, qos}
// it publishes, on {post: {…}} it posts properties.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const iot = require("alibabacloud-iot-device-sdk");
const { services, ...identity } = JSON.parse(process.argv[2]);
const say = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + "\n");

const device = iot.device(identity);
const prefix = `/sys/${identity.productKey}/${identity.deviceName}/rrpc/`;
let granted = [];

device.on("connect", ([connack]) => {
  granted = [];
  say("connect", { sessionPresent: connack.sessionPresent });
});
device.on("close", () => say("close"));
device.on("error", ([error]) => say("error", { code: error.code, message: error.message }));
device._mqttClient.on("packetreceive", ({ cmd, granted: codes }) => {
  if (cmd !== "suback") return;
  granted.push(...codes);
  say("granted", { qos: granted });
});

device.on("message", (topic, payload) => {
  const text = payload.toString();
  say("topic", { topic });
  if (!topic.startsWith(`${prefix}request/`)) {
    say("message", { topic, payload: text });
  } else if (!text.includes('"method"')) {
    say("request", { topic, payload: text });
    device.publish(topic.replace("/request/", "/response/"), `echo:${text}`, { qos: 1 });
  }
});
const held = [];
for (const [identifier, { type, data, held: isHeld }] of Object.entries(services)) {
  device.onService(identifier, (call, reply) => {
    say("service", { identifier, id: call.id, params: call.params });
    const answer = () => reply({ id: call.id, code: 200, data }, type);
    if (isHeld) held.push(answer);
    else answer();
  });
}
device.onProps(({ params }) => say("set", { params }));

for await (const line of createInterface({ input: process.stdin })) {
  const { publish, payload, qos, post, release } = JSON.parse(line);
  if (publish) device.publish(publish, payload, { qos }, (error) => say("published", { error: error?.message ?? null }));
  if (post) device.postProps(post, ({ code }) => say("posted", { code }));
  for (const index of release ?? []) held[index]();
}
device._mqttClient.end(false, () => say("left"));
