// A device built with the vendor's Link SDK for Node.js, behind lines of JSON.
// The first argument is {productKey, deviceName, deviceSecret, brokerUrl, service}. It answers every RRPC with the request
// behind `echo:`, one that is a call of the service with what that asks for; it says what happens to it, and publishes
// on a line {publish: topic, payload, qos}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const iot = require("alibabacloud-iot-device-sdk");
const { service, ...identity } = JSON.parse(process.argv[2]);
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
  if (!topic.startsWith(`${prefix}request/`)) {
    say("message", { topic, payload: text });
  } else if (!text.includes('"method"')) {
    say("request", { topic, payload: text });
    device.publish(topic.replace("/request/", "/response/"), `echo:${text}`, { qos: 1 });
  }
});
device.onService(service, (call, reply) => {
  say("service", { id: call.id, params: call.params });
  reply({ id: call.id, code: 200, data: { done: call.params } }, "sync");
});

for await (const line of createInterface({ input: process.stdin })) {
  const { publish, payload, qos } = JSON.parse(line);
  device.publish(publish, payload, { qos }, (error) => say("published", { error: error?.message ?? null }));
}
device._mqttClient.end(false, () => say("left"));
