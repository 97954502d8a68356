/* SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
 * SPDX-License-Identifier: Apache-2.0 */

/* A group of six transitions in a host in C (docs/hosts.md). */

#include "policy.h"

#include <stdio.h>

enum { samples = 6, elements = 1024 };

static float x[samples * elements], v[samples * elements], y[samples * elements], grad_v[samples * elements];

int main(void) {
  double log_probs[samples], rewards[samples], log_ratio;
  for (int i = 0; i < samples; ++i) {
    for (int e = 0; e < elements; ++e) x[i * elements + e] = (float)((7 * i + e) % 11 - 5) / 4;
  }
  for (int at = 0; at < samples * elements; ++at) v[at] = x[at] / 2; /* your model */
  if (policy_step(samples, elements, x, v, 3, 1, y, log_probs) != 0) return puts(policy_error()), 1;
  for (int i = 0; i < samples; ++i) rewards[i] = y[i * elements]; /* your reward */
  if (policy_gradient(samples, elements, x, v, y, 3, log_probs, rewards, grad_v, &log_ratio) != 0) {
    return puts(policy_error()), 1;
  }
  printf("log-ratio %g, dL/dv %.9g\n", log_ratio, grad_v[0]);
  if (policy_step(samples, elements, x, v, 10, 1, y, log_probs) == 0)
    return puts("step 10 of 10 was taken"), 1;
  return 0;
}
