// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Sampling and scoring: step, ode_step, branch_step, log_prob, their parts and masks, and the noise that they draw.

#include "properties/bounds.hpp"
#include "properties/problem.hpp"
#include "properties/property.hpp"
#include "tempflow/compiled.hpp"
#include "tempflow/ops/parts.hpp"

namespace properties {
namespace {

using tempflow::noise_source;

template <class B, class T, class V>
std::vector<double> log_probs_of(const B& backend, batch_view<const T> x, batch_view<const V> v,
                                 batch_view<const T> y, const problem<T, V>& of,
                                 tempflow::element_mask mask) {
  std::vector<double> found(at(x.rows()));
  tempflow::log_prob(backend, x, v, y, of.steps, found, of.convention, mask);
  return found;
}

/// log_probs are those of y, within what fp32 allows.
template <class T, class V>
void check_log_probs(const problem<T, V>& of, batch_view<const T> y, std::span<const double> found,
                     tempflow::element_mask mask) {
  for (index_t i = 0; i < of.states; ++i) {
    const transition& step = of.steps[at(i)];
    product_sum<T> squares;
    index_t counted = 0;
    for (index_t e = 0; e < of.columns; ++e) {
      if (mask.given() && mask.row(i)[e] == 0) continue;
      const auto r = residual<T>(step, value_of(of.x.view().row(i)[e]), value_of(of.v.view().row(i)[e]),
                                 value_of(y.row(i)[e]));
      squares.add(r, r);
      ++counted;
    }
    if (squares.may_overflow()) continue;
    const tempflow::log_prob_scale scale(step, counted, of.convention);
    const double expected = scale.log_prob(squares.value()), error = squares.error() / scale.divisor;
    const double rounding =
        0x1p-50 * (squares.value() / scale.divisor + std::abs(scale.constant) * scale.times);
    require(std::abs(found[at(i)] - expected) <= error + rounding, "log-prob of row ", i, " of ", of.columns,
            " elements is ", found[at(i)], ", expected ", expected, " +- ", error + rounding);
  }
}

template <class T, class V>
void check_steps(draw& source) {
  const problem<T, V> of(source, true);
  const index_t rows = of.states, columns = of.columns;
  const auto ids = random_ids(source, rows);
  const tempflow::noise_key key{static_cast<std::uint32_t>(source.bits()),
                                static_cast<std::uint32_t>(source.bits())};
  const noise_source noise(key, ids, source.once_in(2),
                           source.once_in(2) ? 0 : 4 * source.between(0, 1 << 30));
  const auto mask = of.mask();

  batch_buffer<T> y(rows, columns), mean(rows, columns);
  std::vector<double> scores(at(rows));
  tempflow::step(plain_cpu(), of.x, of.v, of.steps, noise, y, scores, of.convention, mask);
  tempflow::ode_step(plain_cpu(), of.x, of.v, of.steps, mean, mask);

  // Any backend and layout, and each row alone.
  const cpu_backend& cpu = source.cpu();
  placed<T> x(source, of.x.view()), other_y(source, rows, columns), other_mean(source, rows, columns);
  placed<V> v(source, of.v.view());
  std::vector<double> other_scores(at(rows));
  tempflow::step(cpu, x.view(), v.view(), of.steps, noise, other_y.view(), other_scores, of.convention, mask);
  tempflow::ode_step(cpu, x.view(), v.view(), of.steps, other_mean.view(), mask);
  require(same_bits(batch_view<const T>(other_y), batch_view<const T>(y)) && same_bits(scores, other_scores),
          "step has other bits in another layout");
  require(same_bits(batch_view<const T>(other_mean), batch_view<const T>(mean)),
          "ode_step has other bits in another layout");
  require(other_y.is_whole() && other_mean.is_whole(), "something was written beside the rows");
  require(same_bits(log_probs_of<cpu_backend, T, V>(cpu, x, v, other_y, of, mask), scores),
          "log_prob is not step's");
  const index_t alone = source.between(0, rows - 1);
  batch_buffer<T> row(1, columns);
  double score = 0;
  const tempflow::element_mask row_mask =
      mask.given() ? tempflow::element_mask(mask.row(alone), 1, columns) : mask;
  tempflow::step(cpu, of.x.view().slice(alone, 1), of.v.view().slice(alone, 1), of.steps[at(alone)],
                 noise_source(key, ids[at(alone)], noise.antithetic, noise.first_element), row,
                 std::span(&score, 1), of.convention, row_mask);
  require(same_bits(row.view(), y.view().slice(alone, 1)) && score == scores[at(alone)], "row ", alone,
          " differs alone");

  // The numbers: of this backend, and of the reference's.
  batch_buffer<T> z(rows, columns);
  tempflow::fill_noise(plain_cpu(), noise, z);
  const auto check_numbers = [&](const char* backend, batch_view<const T> drawn,
                                 batch_view<const T> expected) {
    for (index_t i = 0; i < rows; ++i) {
      const transition& step = of.steps[at(i)];
      for (index_t e = 0; e < columns; ++e) {
        const T from = of.x.view().row(i)[e];
        if (!of.counts_element(i, e)) {
          require(drawn.row(i)[e] == from && expected.row(i)[e] == from, backend, ": left-out element ", e,
                  " of row ", i, " is not x's");
          continue;
        }
        const double xe = value_of(from), ve = value_of(of.v.view().row(i)[e]);
        const bounded without = affine<T>(0, step.alpha, xe, step.beta, ve);
        require(is_stored<T, T>(expected.row(i)[e], without), backend, ": mean ", e, " of row ", i, " is ",
                value_of(expected.row(i)[e]), ", expected ", without.value, " +- ", without.error);
        bounded with = affine<T>(0, step.alpha, xe, step.beta, ve, step.std, value_of(z.view().row(i)[e]));
        // z is known as it is stored: 6.6 is more than any.
        with.error += 6.6 * step.std * (storage_rounding<T>(1) + 0x1p-24);
        require(is_stored<T, T>(drawn.row(i)[e], with), backend, ": element ", e, " of row ", i, " is ",
                value_of(drawn.row(i)[e]), ", expected ", with.value, " +- ", with.error);
      }
    }
  };
  check_numbers("cpu", y, mean);
  check_log_probs<T, V>(of, y, scores, mask);
  if constexpr (std::is_same_v<T, V>) {
    const reference_backend reference;
    batch_buffer<T> exact(rows, columns), exact_mean(rows, columns);
    tempflow::step(reference, of.x, of.v, of.steps, noise, exact, scores, of.convention, mask);
    tempflow::ode_step(reference, of.x, of.v, of.steps, exact_mean, mask);
    check_numbers("reference", exact, exact_mean);
    check_log_probs<T, V>(of, exact, scores, mask);
  } else {
    const auto wide = converted<T>(of.v);
    batch_buffer<T> same(rows, columns);
    tempflow::step(plain_cpu(), of.x, wide, of.steps, noise, same, other_scores, of.convention, mask);
    require(same_bits(same, y) && same_bits(scores, other_scores),
            "velocities have other bits in their own type");
  }
}

template <class T, class V>
void check_branches(draw& source) {
  const problem<T, V> of(source, true);
  const index_t rows = of.states, columns = of.columns, count = source.between(1, 5);
  const auto ids = random_ids(source, rows);
  const noise_source noise({7, 8}, ids, source.once_in(2), 4 * source.between(0, 100));
  const auto mask = of.mask();
  const auto trunk_steps = random_transitions(source, rows, of.wild);
  placed<T> trunk(source, rows, columns), branches(source, rows * count, columns);
  std::vector<double> scores(at(rows * count)), expected_scores(at(rows));
  const bool has_trunk = !source.once_in(4);
  tempflow::branch_step(source.cpu(), of.x, of.v, trunk_steps, of.steps, noise,
                        has_trunk ? trunk.view() : batch_view<T>(), branches.view(), scores, of.convention,
                        mask);
  require(trunk.is_whole() && branches.is_whole(), "something was written beside the rows");
  batch_buffer<T> expected(rows, columns);
  if (has_trunk) {
    tempflow::ode_step(plain_cpu(), of.x, of.v, trunk_steps, expected, mask);
    require(same_bits(batch_view<const T>(trunk), batch_view<const T>(expected)),
            "the trunk is not ode_step's");
  }
  for (index_t k = 0; k < count; ++k) {
    auto own = ids;
    for (auto& id : own) id.branch = static_cast<std::uint16_t>(id.branch + k);
    tempflow::step(plain_cpu(), of.x, of.v, of.steps,
                   noise_source(noise.key, own, noise.antithetic, noise.first_element), expected,
                   expected_scores, of.convention, mask);
    for (index_t i = 0; i < rows; ++i) {
      require(same_bits(batch_view<const T>(branches).slice(i * count + k, 1),
                        batch_view<const T>(expected).slice(i, 1)),
              "exploration ", k, " of row ", i, " is not a step's");
      require(scores[at(i * count + k)] == expected_scores[at(i)], "its log-prob is not a step's");
    }
  }
}

/// Parts of rows, which may leave elements between them, have the noise and the numbers of the whole.
template <class T, class V>
void check_parts(draw& source) {
  const problem<T, V> of(source, true);
  const index_t rows = of.states, columns = of.columns;
  std::vector<tempflow::sample_part> pieces;
  for (index_t first = 4 * source.between(0, 2); first < columns;) {
    const index_t count = (std::min)(columns - first, source.between(1, (std::max<index_t>)(1, columns / 2)));
    pieces.push_back({first, count});
    first = (first + count + 3) / 4 * 4 + 4 * source.between(0, 3);
  }
  if (pieces.empty()) pieces.push_back({0, columns});
  const tempflow::sample_parts parts(pieces, columns);
  const auto ids = random_ids(source, rows);
  const noise_source noise({7, 8}, ids, source.once_in(2), 4 * source.between(0, 100));
  const std::vector<tempflow::per_row<transition>> steps(parts.size(), of.steps);
  const cpu_backend& cpu = source.cpu();
  batch_buffer<T> whole(rows, columns);
  placed<T> y(source, rows, columns);
  const std::size_t count = parts.size() * at(rows);
  std::vector<double> scores(count), scored(count), alone(at(rows));
  tempflow::step(plain_cpu(), of.x, of.v, of.steps, noise, whole, {});
  tempflow::step_parts(cpu, of.x, of.v, parts, steps, noise, y.view(), scores, of.convention);
  tempflow::log_prob_parts(cpu, of.x, of.v, y.view(), parts, steps, scored, of.convention);
  require(y.is_whole(), "something was written beside the rows");
  require(same_bits(scores, scored), "log_prob_parts is not step_parts'");
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto [first, length] = parts[p];
    require(same_bits(batch_view<const T>(y).columns(first, length),
                      batch_view<const T>(whole).columns(first, length)),
            "part ", p, " is not the whole's");
    tempflow::log_prob(plain_cpu(), of.x.view().columns(first, length), of.v.view().columns(first, length),
                       whole.view().columns(first, length), of.steps, alone, of.convention);
    require(same_bits(alone, std::span<const double>(scores).subspan(p * at(rows), at(rows))),
            "the log-probs of part ", p);
  }
}

/// The noise of an identity: the same on all backends, in parts, and minus itself for an odd branch.
template <class T>
void check_noise(draw& source) {
  const index_t rows = source.between(1, 4), columns = source.columns();
  auto ids = random_ids(source, rows);
  for (auto& id : ids) id.branch = static_cast<std::uint16_t>(id.branch & 0xfffeu);
  const tempflow::noise_key key{static_cast<std::uint32_t>(source.bits()),
                                static_cast<std::uint32_t>(source.bits())};
  const index_t first = 4 * source.between(0, (index_t{1} << 32) - 1 - columns / 4 - 1);
  batch_buffer<T> expected(rows, columns), found(rows, columns);
  tempflow::fill_noise(plain_cpu(), noise_source(key, ids, false, first), expected);
  tempflow::fill_noise(reference_backend{}, noise_source(key, ids, true, first), found);
  require(same_bits(found, expected), "the reference's noise is another");
  placed<T> parts(source, rows, columns);
  for (index_t begin = 0; begin < columns;) {
    const index_t count = (std::min)(columns - begin, 4 * source.between(1, columns / 8 + 1));
    tempflow::fill_noise(source.cpu(), noise_source(key, ids, true, first + begin),
                         parts.view().columns(begin, count));
    begin += count;
  }
  require(parts.is_whole() && same_bits(batch_view<const T>(parts), batch_view<const T>(expected)),
          "the noise of parts is another");
  for (auto& id : ids) ++id.branch;
  tempflow::fill_noise(source.cpu(), noise_source(key, ids, true, first), found);
  for (index_t e = 0; e < rows * columns; ++e) {
    const double z = value_of(expected.view().data()[e]), opposite = value_of(found.view().data()[e]);
    require(z == -opposite, "element ", e, " of the opposite is ", opposite, ", expected ", -z);
    require(std::abs(z) < 6.6, "element ", e, " is ", z);
  }
}

void parts_of_any_storage(draw& source) {
  switch (source.between(0, 3)) {
    case 0: return check_parts<double, double>(source);
    case 1: return check_parts<bfloat16, bfloat16>(source);
    case 2: return check_parts<float, float16>(source);
    default: return check_parts<float, float>(source);
  }
}

const property steps("steps and log-probs", [](draw& source) {
  with_mixed_storage(source, [&]<class T, class V>() { check_steps<T, V>(source); });
});
const property branches("branches are steps", [](draw& source) {
  with_mixed_storage(source, [&]<class T, class V>() { check_branches<T, V>(source); });
});
const property parts("parts are the whole", parts_of_any_storage);
const property noise("noise by identity",
                     [](draw& source) { with_storage(source, [&]<class T>() { check_noise<T>(source); }); });

}  // namespace
}  // namespace properties
