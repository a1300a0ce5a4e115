// The broker aedes, of any version, on a port of loopback: node aedes.mjs FOLDER PORT
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, port] = process.argv.slice(2);
const own = createRequire(folder + "/")("./package.json");
const main = own.exports?.["."]?.import ?? own.exports?.["."] ?? own.main ?? "aedes.js";
const file = typeof main === "string" ? main : (main.default ?? "aedes.js");
const found = await import(pathToFileURL(folder + "/" + file));
const aedes = found.Aedes?.createBroker
	? await found.Aedes.createBroker({ queueLimit: 10000 })
	: found.default({ queueLimit: 10000 });
createServer(aedes.handle).listen(Number(port), "127.0.0.1", () => console.log("ready"));
