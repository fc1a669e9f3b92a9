// A device built with the vendor's Link SDK for Node.js asks for its secret over HTTP, and says what it is told.
// The first argument is {productKey, deviceName, productSecret, registerURL}.

import { createRequire } from "node:module";

const iot = createRequire(import.meta.url)("alibabacloud-iot-device-sdk");

iot.register(JSON.parse(process.argv[2]), ({ code, data, message }) => {
  process.stdout.write(JSON.stringify({ event: "registered", code, data, message }) + "\n");
});
