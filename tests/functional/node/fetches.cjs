// SPDX-License-Identifier: Apache-2.0
//
// An application for 52-node.t: fetch in all the ways that it can be called.
// node fetches.cjs URL prints what came of each, as JSON {way: "status body" or the
// error's name and cause}.
'use strict';

const [, , url] = process.argv;

const post = (body, more) => fetch(url, { method: 'POST', body, ...more });
const form = () => {
	const out = new FormData();
	out.set('field', 'value');
	out.set('file', new Blob(['content']), 'name');
	return out;
};
const failing = () => new ReadableStream({
	start(controller) {
		controller.enqueue(Buffer.from('begun'));
		setTimeout(() => controller.error(new Error('the body fails')), 20);
	},
});
const endless = () => new ReadableStream({
	start(controller) { controller.enqueue(Buffer.from('begun')); },
});

function during(act) {
	const controller = new AbortController();
	return act(controller.signal, () => controller.abort(new Error('enough')));
}

const ways = {
	'a Request': () => fetch(new Request(url, { headers: { 'x-one': '1' } })),
	'a Request with a body': () => fetch(new Request(url, { method: 'POST', body: 'one' })),
	'a Request and options': () => fetch(new Request(url, { method: 'POST', body: 'one' }),
		{ method: 'PUT', body: 'two' }),
	'a Request twice': async () => {
		const request = new Request(url, { method: 'POST', body: 'one' });
		await fetch(request.clone());
		return fetch(request);
	},
	'a URL': () => fetch(new URL(url)),
	'FormData': () => post(form()),
	'a Blob': () => post(new Blob(['blob'])),
	'URLSearchParams': () => post(new URLSearchParams('a=b')),
	'a stream': () => post(new Blob(['stream']).stream(), { duplex: 'half' }),
	'keepalive': () => fetch(url, { keepalive: true }),
	'redirect: error': () => fetch(url, { redirect: 'error' }),
	'a body that fails': () => post(failing(), { duplex: 'half' }),
	'aborted before': () => fetch(url, { signal: AbortSignal.abort() }),
	'aborted in the same tick': () => during((signal, abort) => {
		const out = fetch(url, { signal });
		abort();
		return out;
	}),
	'aborted while the body is sent': () => during((signal, abort) => {
		setTimeout(abort, 20);
		return post(endless(), { duplex: 'half', signal });
	}),
	'aborted before the body is read': () => during(async (signal, abort) => {
		const response = await fetch(url, { signal });
		abort();
		return response;
	}),
};

async function main() {
	const out = {};
	for (const [way, call] of Object.entries(ways))
		out[way] = await call().then(async (response) =>
			`${response.status} ${await response.text()} ${response.redirected}`).catch((error) =>
			`${error.name} ${error.cause?.code ?? error.cause?.message ?? error.message}`);
	console.log(JSON.stringify(out));
	process.exit(0);
}

main();
