// A consumer of server-side subscription made of rhea. It says on stdout, in lines of JSON, what happens to it, and does
// what the lines on stdin tell it. Usage: node consumer.mjs '{"port":…,"user":…,"password":…,"tls":…,"options":{…}}'
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import rhea from "rhea";

const settings = JSON.parse(process.argv[2]);
const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));
const problem = (error) => ({ condition: error?.condition ?? "", description: error?.description ?? String(error) });

const container = rhea.create_container();
const deliveries = new Map();
let receiver;

container.on("receiver_open", (context) => {
  if (context.receiver === receiver) say("attached");
});
container.on("message", ({ message, delivery }) => {
  deliveries.set(message.application_properties.messageId, delivery);
  const body = message.body.content;
  say("message", {
    ...message.application_properties,
    section: message.body.typecode,
    body: body.length > 4096 ? "" : body.toString(),
    bytes: body.length,
    id: message.message_id,
    created: Number(message.creation_time),
    durable: message.durable,
    deliveryCount: message.delivery_count ?? 0,
  });
});
container.on("settled", () => say("settled"));
container.on("receiver_drained", () => say("drained"));
container.on("receiver_error", ({ receiver: link }) => say("link_error", problem(link.error)));
container.on("receiver_close", () => say("link_closed"));
container.on("sender_error", ({ sender }) => say("sender_error", problem(sender.error)));
container.on("connection_open", () => say("open"));
container.on("connection_error", ({ connection, error }) => say("connection_error", problem(connection.error ?? error)));
container.on("connection_close", () => say("closed"));
container.on("disconnected", ({ error }) => say("disconnected", error ? problem(error) : {}));

const { port, user, password, ca, options = {}, link = {} } = settings;
const tls = ca ? { transport: "tls", ca: [readFileSync(ca)], rejectUnauthorized: true, servername: "localhost" } : {};
const connection = container.connect({
  host: "127.0.0.1", port, username: user, password, reconnect: false, idle_time_out: 60000, ...tls, ...options,
});
receiver = connection.open_receiver({ source: null, credit_window: 0, autoaccept: false, ...link });

const commands = {
  credit: ({ count }) => receiver.add_credit(count),
  drain: () => receiver.drain_credit(),
  accept: ({ messageId }) => deliveries.get(messageId).accept(),
  release: ({ messageId }) => deliveries.get(messageId).release(),
  reject: ({ messageId }) => deliveries.get(messageId).reject({ condition: "amqp:decode-error", description: "no" }),
  modify: ({ messageId }) => deliveries.get(messageId).modified({ delivery_failed: true }),
  second: () => connection.open_receiver({ name: "second", credit_window: 0 }),
  sender: () => connection.open_sender("anywhere"),
  detach: () => receiver.close(),
  close: () => connection.close(),
  die: () => process.exit(9),
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
