// SPDX-License-Identifier: Apache-2.0
//
// An application for 52-node.t: calls during which the app does something unusual.
// node traces.cjs URL DEAD-PORT [CASE ...] prints for each what the app has seen, as
// JSON {case: "event event ..."}; a case is over with the request's 'close'.
'use strict';

const http = require('http');

const [, , url, dead, ...wanted] = process.argv;
const agent = new http.Agent({ keepAlive: true });

// A case: options, or a function (request, see) => options, called when there is a
// request; see(event) adds to what is printed.
const cases = {
	'throws in response': [{}, (req) => req.on('response', (res) => {
		res.resume();
		throw new Error('mine');
	}), 'uncaught'],
	'throws in data': [{}, (req, see) => req.on('response', (res) => {
		res.on('data', () => { throw new Error('mine'); }).on('end', () => see('end'));
	})],
	'throws in error': [{ port: dead }, (req) => req.on('error', () => { throw new Error('mine'); })],
	'destroys in socket': [{}, (req) => req.on('socket', () => req.destroy())],
	'destroys in response': [{}, (req, see) => req.on('response', (res) => {
		res.on('error', () => see('broken')).on('close', () => see('closed'));
		req.destroy();
	})],
	'destroys in response, with an error': [{}, (req, see) => req.on('response', (res) => {
		res.on('error', () => see('broken')).on('close', () => see('closed'));
		req.destroy(new Error('why'));
	})],
	'aborts': [{}, (req) => setImmediate(() => req.abort())],
	'a signal given before': [{ signal: AbortSignal.abort() }, () => {}],
	'a timeout that is never over': [{ timeout: 60000 }, (req) => req.on('response', (res) => res.resume())],
	'expects to continue': [{ method: 'POST', headers: { 'Expect': '100-continue', 'Content-Length': 4 } },
		(req, see) => {
			req.on('continue', () => req.end('body'));
			req.on('response', (res) => {
				res.resume().on('end', () => see('end'));
				if (!req.writableEnded)
					req.end('late');
			});
		}],
};

function one([options, act, last]) {
	return new Promise((resolve) => {
		const seen = [];
		let over = false;
		const req = http.request(url, { agent, ...options });
		const see = (event) => {
			if (over)
				return;
			seen.push(event);
			over = event === last;
		};
		const onUncaught = () => {
			see('uncaught');
			if (over)
				setImmediate(() => req.destroy());
		};
		process.on('uncaughtException', onUncaught);
		for (const event of ['socket', 'continue', 'finish', 'response', 'abort', 'timeout', 'close'])
			req.on(event, () => see(event));
		req.on('error', (error) => see(`error:${error.code ?? error.message}`));
		req.on('close', () => setTimeout(() => {
			process.removeListener('uncaughtException', onUncaught);
			resolve(seen.join(' '));
		}, 20)); // whatever comes too much
		act(req, see);
		if (options.method === undefined)
			req.end();
	});
}

async function main() {
	const out = {};
	for (const name of wanted.length === 0 ? Object.keys(cases) : wanted)
		out[name] = await one(cases[name]);
	agent.destroy();
	console.log(JSON.stringify(out));
}

main();
