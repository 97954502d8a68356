/* SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_H
#define POLICY_H

/* What a host in C, or any language that calls C, needs of the library: yours to extend. x, v, y and grad_v are
 * rows x columns floats; step is one of the chain's. Functions return 0, or -1 where policy_error() says why. */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

int policy_step(int64_t rows, int64_t columns, const float* x, const float* v, int64_t step, uint32_t seed,
                float* y, double* log_probs);
int policy_gradient(int64_t rows, int64_t columns, const float* x, const float* v, const float* y,
                    int64_t step, const double* log_probs, const double* rewards, float* grad_v,
                    double* log_ratio);
const char* policy_error(void);

#ifdef __cplusplus
}
#endif
#endif
