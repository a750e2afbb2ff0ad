// SPDX-License-Identifier: Apache-2.0
//
// Test doubles and libraries beside the hook; 52-node.t installs them for the test.
// Argument: what to do, the URL of a service.  Prints one word for each call.
'use strict';

const [, , what, url] = process.argv;

const word = (promise) => promise.then(
	(res) => String(res.status ?? res.statusCode),
	(error) => error.code ?? error.cause?.code ?? error.name);

const byHttp = (target) => new Promise((resolve, reject) => require('http').get(target, (res) => {
	res.resume();
	res.on('end', () => resolve(res));
}).on('error', reject));

const programs = {
	async nock(name = 'nock') {
		const nock = require(name);
		nock(url, { allowUnmocked: true }).get('/mocked').times(2).reply(299, 'mocked');
		nock.enableNetConnect();
		console.log(await word(byHttp(`${url}/mocked`)), await word(byHttp(`${url}/real`)));
	},
	nock13() {
		return programs.nock('nock13');
	},
	async mockagent() {
		const { MockAgent, setGlobalDispatcher } = require(process.env.TEST_UNDICI);
		const agent = new MockAgent();
		agent.get(url).intercept({ path: '/mocked' }).reply(299, 'mocked');
		setGlobalDispatcher(agent);
		console.log(await word(fetch(`${url}/mocked`)));
	},
	async mockpool() {
		const { MockAgent } = require(process.env.TEST_UNDICI);
		const pool = new MockAgent().get(url);
		pool.intercept({ path: '/mocked' }).reply(299, 'mocked');
		console.log(await word(fetch(`${url}/mocked`, { dispatcher: pool })));
	},
	async composed() {
		const { getGlobalDispatcher, interceptors, RetryAgent } = require(process.env.TEST_UNDICI);
		await null; // the global one is met by now
		const later = (dispatch) => (opts, handler) => {
			setTimeout(() => dispatch(opts, handler), 5);
			return true;
		};
		const retry = interceptors.retry({ maxRetries: 1, minTimeout: 1 });
		console.log(await word(fetch(url, { dispatcher: getGlobalDispatcher().compose(later) })),
			await word(fetch(url, { dispatcher: getGlobalDispatcher().compose(retry, later) })),
			await word(fetch(url, { dispatcher: new RetryAgent(getGlobalDispatcher()) })));
	},
	async undici() {
		const { request, Pool, setGlobalDispatcher, Agent } = require('undici');
		const text = (r) => r.body.text().then(() => r);
		await null; // a request in the very tick of its loading is not met
		console.log(await word(request(url).then(text)), await word(fetch(url).then((r) => r.text().then(() => r))));
		setGlobalDispatcher(new Agent());
		console.log(await word(fetch(url).then((r) => r.text().then(() => r))));
		await new Promise((resolve) => setImmediate(resolve));
		console.log(await word(request(url).then(text)));
		const pool = new Pool(new URL(url).origin);
		console.log(await word(pool.request({ path: '/', method: 'GET' }).then(text)));
		await pool.close();
	},
	async retry() { // of undici's own: our refusal is not tried again
		const { Agent, RetryAgent } = require('undici');
		const dispatcher = new RetryAgent(new Agent(), { maxRetries: 3, minTimeout: 1 });
		console.log(await word(fetch(url, { dispatcher })));
	},
	async axios() {
		const axios = require('axios');
		for (const adapter of ['http', 'fetch'])
			await axios.get(url, { adapter, timeout: 5000 }).then((r) => console.log(r.status), (e) =>
				console.log(e.code, e.cause?.code ?? e.cause?.cause?.code, e.pipe ?? e.cause?.pipe ?? e.cause?.cause?.pipe));
		await axios.post(url, { a: 1 }).then((r) => console.log(r.status), (e) => console.log(e.code));
	},
	async got() {
		const { default: got } = await import('got');
		await got(url, { retry: { limit: 2, backoffLimit: 1 } }).then((r) => console.log(r.statusCode),
			(e) => console.log(e.code, e.options.retry.limit, e.request?.retryCount));
		await got.post(url, { json: { a: 1 }, retry: { limit: 0 } }).then((r) => console.log(r.statusCode),
			(e) => console.log(e.code));
	},
	async nodefetch() {
		const nodefetch = require('node-fetch');
		await nodefetch(url).then((r) => console.log(r.status), (e) => console.log(e.code, e.name));
		await nodefetch(url, { method: 'POST', body: 'x'.repeat(100) }).then((r) => console.log(r.status),
			(e) => console.log(e.code));
	},
	async proxyagents() {
		const { HttpProxyAgent } = require('http-proxy-agent');
		const agent = new HttpProxyAgent(process.env.TEST_PROXY);
		console.log(await word(byHttp(Object.assign(new URL(url), {})).catch((e) => e)));
		console.log(await word(new Promise((resolve, reject) => require('http').get(url, { agent }, (res) => {
			res.resume();
			res.on('end', () => resolve(res));
		}).on('error', reject))));
	},
};

programs[what]();
