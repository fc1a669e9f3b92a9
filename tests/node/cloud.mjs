// The vendor's cloud SDKs for Node.js, behind lines of JSON.
// The first argument is {sdk: "pop" | "tea", endpoint, protocol, signatureAlgorithm?, method?, timeout?, ca?}.
// Each line of stdin is {action, parameters, accessKeyId, accessKeySecret}; each line of stdout {answer} or {error}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import https from "node:https";

const require = createRequire(import.meta.url);
const settings = JSON.parse(process.argv[2]);
const lowerFirst = (text) => text[0].toLowerCase() + text.slice(1);

function makePop({ accessKeyId, accessKeySecret }) {
  const { RPCClient } = require("@alicloud/pop-core");
  const client = new RPCClient({
    accessKeyId,
    accessKeySecret,
    endpoint: `${settings.protocol}://${settings.endpoint}`,
    apiVersion: "2018-01-20",
  });
  const options = { method: settings.method };
  if (settings.timeout) options.timeout = settings.timeout;
  if (settings.ca) options.agent = new https.Agent({ ca: settings.ca });
  return (action, parameters) => client.request(action, parameters, { ...options });
}

function makeTea({ accessKeyId, accessKeySecret }) {
  const iot = require("@alicloud/iot20180120");
  const { Config } = require("@alicloud/openapi-client");
  const client = new iot.default(
    new Config({
      accessKeyId,
      accessKeySecret,
      endpoint: settings.endpoint,
      protocol: settings.protocol,
      signatureAlgorithm: settings.signatureAlgorithm,
      readTimeout: settings.timeout,
      ca: settings.ca,
    }),
  );
  const lowerNames = (value) =>
    Object.fromEntries(Object.entries(value).map(([name, field]) => [lowerFirst(name), field]));
  return async (action, parameters) => {
    const fields = lowerNames(parameters);
    for (const [name, value] of Object.entries(parameters)) {
      if (Array.isArray(value) && typeof value[0] === "object") {
        const Entry = iot[`${action}Request${name}`];
        fields[lowerFirst(name)] = value.map((entry) => new Entry(lowerNames(entry)));
      }
    }
    const request = new iot[`${action}Request`](fields);
    const response = await client[lowerFirst(action)](request);
    return response.body.toMap();
  };
}

const makers = { pop: makePop, tea: makeTea };
const clients = new Map();

// pop-core reads large numbers as BigNumber, which becomes text in JSON.
for await (const line of createInterface({ input: process.stdin })) {
  const { action, parameters, accessKeyId, accessKeySecret } = JSON.parse(line);
  const name = `${accessKeyId} ${accessKeySecret}`;
  if (!clients.has(name)) clients.set(name, makers[settings.sdk]({ accessKeyId, accessKeySecret }));
  let said;
  try {
    said = { answer: await clients.get(name)(action, parameters) };
  } catch (error) {
    said = { error: { name: error.name, code: error.code, message: error.message, data: error.data ?? null } };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
}
