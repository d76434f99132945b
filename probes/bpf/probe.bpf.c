/*
 * The probe's programs. Every tier begins and ends an operation the same way (follow.h); they differ in how the kernel calls.
 */
#include "abi.h"
#include "core.h"
#include "kernel.h"
#include "calls.h"
#include "functions.h"
#include "requests.h"

/* Helpers that read the kernel's memory are for programs under the GPL alone. */
char _license[] SEC("license") = "GPL";
