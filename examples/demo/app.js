// SPDX-License-Identifier: Apache-2.0
// A program that knows nothing of Middlepipe: it calls a service and says what came of it.
'use strict';
const url = process.argv[2];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

(async () => {
  for (;;) {
    const began = performance.now();
    let outcome;
    try {
      const response = await fetch(url);
      await response.text();
      outcome = `status ${response.status}`;
    } catch (e) {
      const cause = e.cause ? `${e.cause.code}: ${e.cause.message}` : '';
      outcome = `error ${e.name} "${e.message}" < ${cause}`;
    }
    console.log(`${(performance.now() - began).toFixed(1)}\t${outcome}`);
    await sleep(100);
  }
})();
