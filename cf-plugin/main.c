/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe: see cli.c. */
#include "cf-plugin/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
