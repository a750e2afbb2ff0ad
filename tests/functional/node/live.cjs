// SPDX-License-Identifier: Apache-2.0
//
// Programs that 52-node.t runs with a scheduler: node live.cjs WHAT URL [N].
// Prints how many calls ended how, as JSON: {"200": 3, "EMIDDLEPIPE": 1}.
'use strict';

const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const cluster = require('cluster');
const { byHttp, byFetch } = require('./calls.cjs');

const [, , what, url, n = '1'] = isMainThread ? process.argv : ['', '', ...workerData];

function tally(results) {
	const out = {};
	for (const { status, error } of results) {
		const name = error ? error.code ?? error.cause?.code ?? error.cause?.name ?? error.name : status;
		out[name] = (out[name] ?? 0) + 1;
	}
	return out;
}

async function some(count, agent = 'keep') {
	const results = [];
	for (let i = 0; i < count; i++)
		results.push(await (i % 2 ? byFetch({ url }) : byHttp({ url, agent })));
	return results;
}

async function together(count) {
	const lanes = Array.from({ length: 20 }, () => some(count / 20));
	return (await Promise.all(lanes)).flat();
}

const sum = (tallies) => tallies.reduce((all, one) => {
	for (const name of Object.keys(one))
		all[name] = (all[name] ?? 0) + one[name];
	return all;
}, {});

const programs = {
	some: async () => tally(await some(+n)),
	together: async () => tally(await together(+n)),
	async threads() {
		const one = () => new Promise((resolve) =>
			new Worker(__filename, { workerData: ['thread', url, n] }).once('message', resolve));
		return sum(await Promise.all([some(+n).then(tally), one(), one(), one(), one()]));
	},
	async cluster() {
		cluster.setupPrimary({ exec: __filename, args: ['member', url, n] });
		const one = () => new Promise((resolve) => cluster.fork().once('message', resolve));
		return sum(await Promise.all([some(+n).then(tally), one(), one()]));
	},
	// Calls until standard input ends; then how many of each.
	async until() {
		const results = [];
		let over = false;
		process.stdin.resume().once('end', () => { over = true; });
		console.log('started');
		while (!over) {
			results.push(...await some(2));
			await new Promise((resolve) => setImmediate(resolve));
		}
		return tally(results);
	},
};

async function main() {
	if (what === 'thread')
		parentPort.postMessage(tally(await some(+n)));
	else if (what === 'member')
		process.send(tally(await some(+n)), () => process.exit(0));
	else
		console.log(JSON.stringify(await programs[what]()));
	process.exit(0);
}

main();
