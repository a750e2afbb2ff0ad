/* SPDX-License-Identifier: Apache-2.0 */
/* Test `.so` that is no middlepipe at all. */
#include <middlepipe/types.h>

__attribute__((visibility("default"))) extern const int32_t mp_something_else;
const int32_t mp_something_else = 1;
