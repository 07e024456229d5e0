// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"strings"
)

// plot draws the reads per second of the engine beside the floor's. It returns
// an SVG that is readable on light and dark pages.
func (r *results) plot() string {
	const (
		left, right, top = 185, 130, 62
		width            = 760
		bar, gap, group  = 18, 3, 20
	)
	titles := map[string]string{"leased": "leased", "plain": "leased=false"}
	var shown []row
	most := 1.0
	for _, got := range r.Rows {
		if titles[got.ID] != "" && got.Ratio != nil {
			shown = append(shown, got)
			most = max(most, got.Ours, got.Base)
		}
	}
	height := top + len(shown)*(2*bar+gap+group) + 20
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Cached reads per second: the engine and the floor">
<!-- Copyright (c) The oauthcc authors. SPDX-License-Identifier: MPL-2.0. Written by make bench. -->
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.small { fill: #59636e }
.ours { fill: #0969da }
.floor { fill: #a8b1ba }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.small { fill: #9198a1 }
.ours { fill: #4493f8 }
.floor { fill: #656c76 }
}
</style>
<text class="title" x="12" y="24">Cached reads per second</text>
`, width, height, width, height)
	fmt.Fprintf(&b, "<rect class=\"ours\" x=\"12\" y=\"36\" width=\"12\" height=\"12\"/><text class=\"small\" x=\"30\" y=\"47\">this engine</text>\n")
	fmt.Fprintf(&b, "<rect class=\"floor\" x=\"122\" y=\"36\" width=\"12\" height=\"12\"/><text class=\"small\" x=\"140\" y=\"47\">the floor: the smallest plugin there can be (%d connections, %d CPUs)</text>\n", r.Connections, r.CPUs)
	y := top
	for _, got := range shown {
		y += group / 2
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s, %s</text>\n", left-12, y+bar+gap+2, titles[got.ID], got.Storage)
		line := func(class string, value float64, text string) {
			w := value / most * (width - left - right)
			fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/><text x=\"%.1f\" y=\"%d\">%s</text>\n",
				class, left, y, w, bar, float64(left)+w+8, y+bar-4, text)
			y += bar + gap
		}
		line("ours", got.Ours, fmt.Sprintf("%s (%.2f of it)", grouped(int(got.Ours)), got.Ratio.Median))
		line("floor", got.Base, grouped(int(got.Base)))
		y += group/2 - gap
	}
	b.WriteString("</svg>\n")
	return b.String()
}
