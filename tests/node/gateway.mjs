// A gateway built with the vendor's Link SDK for Node.js, behind lines of JSON.
// The first argument is {gateway: {productKey, deviceName, deviceSecret, brokerUrl}, device: {productKey, …}, service}.
// It puts the device behind itself, logs it in and has it answer the service with what that asks for; on a line
// {logout: true} it logs it out. It says what happens.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const iot = require("alibabacloud-iot-device-sdk");
const { gateway: identity, device, service } = JSON.parse(process.argv[2]);
const names = { productKey: device.productKey, deviceName: device.deviceName };
const say = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + "\n");

const gateway = iot.gateway(identity);
const granted = [];
gateway._mqttClient.on("packetreceive", ({ cmd, granted: codes }) => {
  if (cmd === "suback") granted.push(...codes);
});
gateway.on("connect", () => {
  gateway.addTopo([{ ...device }], ({ code, data }) => {
    say("added", { code, data });
    const subDevice = gateway.login({ ...device }, (reply) => say("login", { code: reply.code, data: reply.data }));
    subDevice.on("error", (reply) => say("error", reply));
    subDevice.on("connect", () => {
      subDevice.onService(service, (call, reply) => {
        say("service", { id: call.id, params: call.params });
        reply({ id: call.id, code: 200, data: { done: call.params } }, "sync");
      });
      subDevice.postProps({ Level: 3 }, ({ code: posted }) => say("posted", { code: posted, granted }));
    });
  });
});

for await (const line of createInterface({ input: process.stdin })) {
  if (JSON.parse(line).logout) gateway.logout(names, ({ code }) => say("logout", { code }));
}
gateway._mqttClient.end(false, () => say("left"));
