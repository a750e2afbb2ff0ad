// SPDX-License-Identifier: Apache-2.0
//
// The Node.js client of the bench: keep-alive GETs with http.get and an agent.
//
//   client.js URL
//
// Reads a number a line on standard input, makes that many calls one after
// another, and prints one JSON object: how many, p50 and p99 in microseconds,
// its own CPU time in microseconds, and how many did not end with 200.  It knows
// nothing of proxies or hooks.
'use strict';
const http = require('http');
const readline = require('readline');

const url = new URL(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const options = {
	agent, host: url.hostname, port: url.port, path: url.pathname,
	headers: { accept: 'application/json' },
};

function call() {
	return new Promise((resolve, reject) => {
		http.get(options, (response) => {
			response.resume();
			response.on('end', () => resolve(response.statusCode));
		}).on('error', reject);
	});
}

async function run(calls) {
	const took = new Float64Array(calls);
	let failed = 0;
	const cpu = process.cpuUsage();
	for (let i = 0; i < calls; i++) {
		const start = process.hrtime.bigint();
		if (await call() !== 200)
			failed++;
		took[i] = Number(process.hrtime.bigint() - start) / 1e3;
	}
	const used = process.cpuUsage(cpu);
	took.sort();
	return {
		n: calls, p50: took[Math.floor(calls / 2)], p99: took[Math.floor(calls * 99 / 100)],
		cpu: used.user + used.system, failed,
	};
}

(async () => {
	for await (const line of readline.createInterface({ input: process.stdin }))
		console.log(JSON.stringify(await run(Number(line))));
	agent.destroy();
})();
