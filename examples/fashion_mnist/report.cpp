// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <cmath>
#include <cstdio>
#include <string_view>

#include "support/durable_file.hpp"

namespace fashion {

void write_metrics(const std::filesystem::path& path, const std::vector<metrics_row>& rows) {
  std::string text =
      "update,reward,judge,diversity,frechet,kl,clip_fraction,ratio_mean,zero_std_share,model_evaluations,"
      "model_calls,trained_states,cost,scored,seconds,cpu_seconds\n";
  for (const auto& r : rows) {
    char line[400];
    // 9 digits tell any two runs apart whose bits differ where it matters.
    std::snprintf(line, sizeof line,
                  "%lld,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%lld,%lld,%lld,%lld,%lld,%.2f,%.3f\n",
                  static_cast<long long>(r.update), r.quality.reward, r.quality.judge, r.quality.diversity,
                  r.quality.frechet, r.kl, r.clip_fraction, r.ratio_mean, r.zero_std_share,
                  static_cast<long long>(r.model_evaluations), static_cast<long long>(r.model_calls),
                  static_cast<long long>(r.trained_states), static_cast<long long>(r.cost()),
                  static_cast<long long>(r.scored), r.seconds, r.cpu_seconds);
    text += line;
  }
  support::write_file_atomically(path, text);
}

void print_row(support::progress& bar, const metrics_row& row) {
  char line[160];
  std::snprintf(line, sizeof line,
                "update %4lld  reward %7.3f  judge %.3f  diversity %.3f  frechet %6.2f  kl %.4f  %4.0f s",
                static_cast<long long>(row.update), row.quality.reward, row.quality.judge,
                row.quality.diversity, row.quality.frechet, row.kl, row.seconds);
  bar.say(line);
}

namespace {

/// A string in single quotes, where a quote in it is written as `escape`: '' for gnuplot, '\\'' for the shell.
std::string quoted(std::string_view text, const char* escape) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string(escape) : std::string(1, c);
  return out + "'";
}

/// What a shell command prints; nothing when it fails.
std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  std::string out;
  char part[4096];
  for (std::size_t size; (size = std::fread(part, 1, sizeof part, pipe)) > 0;) out.append(part, size);
  return pclose(pipe) == 0 ? out : std::string{};
}

}  // namespace

void draw_reward(const std::filesystem::path& metrics, const std::filesystem::path& picture,
                 bool probability) {
  const std::string script =
      "set terminal pngcairo size 800,480 font 'sans,11'; "
      "set datafile separator ','; "
      "set key bottom right; "
      "set grid lc rgb '#dddddd'; "
      "set xlabel 'cost: evaluations of rollouts + 3 x trained states, thousands'; "
      "set ylabel 'reward'; " +
      std::string(probability ? "set yrange [0:1]; " : "") +
      "set ytics nomirror; "
      "set y2label 'judge accuracy'; "
      "set y2tics; "
      "set y2range [0:1]; "
      "plot " +
      quoted(metrics.string(), "''") +
      " using ($13/1000):2 with linespoints lw 2 pt 7 ps 0.6 lc rgb '#4c72b0' title 'reward (training)', "
      "'' using ($13/1000):3 axes x1y2 with linespoints lw 2 pt 5 ps 0.6 lc rgb '#dd8452' title 'judge "
      "(held out)'";
  const std::string png = output_of("gnuplot -e " + quoted(script, "'\\''") + " 2>/dev/null");
  if (png.empty()) {
    std::printf("%s is not drawn: gnuplot is not installed (Debian: gnuplot-nox) or failed\n",
                picture.c_str());
  } else {
    support::write_file_atomically(picture, png);
  }
}

void print_comparison(const metrics_row& before, const metrics_row& after, const evaluation& test_images) {
  const auto line = [&](const char* what, double evaluation::*number) {
    std::printf("%-34s %9.3f %9.3f %12.3f\n", what, before.quality.*number, after.quality.*number,
                test_images.*number);
  };
  std::printf("\n%-34s %9s %9s %12s\n", "", "before", "after", "test images");
  line("judge accuracy (never trained on)", &evaluation::judge);
  line("reward", &evaluation::reward);
  line("diversity within a prompt", &evaluation::diversity);
  line("Frechet distance to test images", &evaluation::frechet);
  std::printf(
      "%lld updates: cost %lld = %lld model evaluations (%lld calls) + 3 x %lld trained states; %lld samples "
      "scored; %.0f s\n",
      static_cast<long long>(after.update), static_cast<long long>(after.cost()),
      static_cast<long long>(after.model_evaluations), static_cast<long long>(after.model_calls),
      static_cast<long long>(after.trained_states), static_cast<long long>(after.scored), after.seconds);
}

void print_time(const stopwatch& watch) {
  const double model = watch.seconds(account::model), reward = watch.seconds(account::reward),
               optimiser = watch.seconds(account::optimiser), rest = watch.seconds(account::everything_else);
  const double percent = 100 / (model + reward + optimiser + rest);
  if (!std::isfinite(percent)) return;
  std::printf(
      "time since this start: model %.1f %%, reward %.1f %%, optimiser %.1f %%, everything else %.1f %%\n",
      percent * model, percent * reward, percent * optimiser, percent * rest);
}

}  // namespace fashion
