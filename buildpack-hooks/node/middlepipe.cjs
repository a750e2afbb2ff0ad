// SPDX-License-Identifier: Apache-2.0
//
// What NODE_OPTIONS="--require .../middlepipe.cjs" loads into every Node.js
// process, npm's and yarn's own included.  So it prints nothing, throws nothing,
// takes no time to speak of, and does nothing at all without a scheduler.
'use strict';

const inert = process.env.MIDDLEPIPE_DISABLED === '1' ||
	// A worker may have an environment of its own; then the library's decides.  It is
	// known by what it cannot do, because to load worker_threads takes longer than all else.
	(!process.env.MIDDLEPIPE_SOCK && !process.chdir.disabled);

if (!inert) {
	try {
		if (require('./calls.cjs').native.enabled()) {
			require('./http.cjs').install();
			require('./fetch.cjs').install();
		}
	} catch {
		// An addon that does not fit this Node.js: the calls go unfiltered.
	}
}
