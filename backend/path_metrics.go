// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"
)

const metricsHelp = `
The metrics of the mount in Prometheus' text format, raw. Prometheus scrapes them
with a token whose policy allows only that:

    path "oauthcc/metrics" { capabilities = ["read"] }

They contain no tokens and no secrets. They name at most 200 configs; all others are
counted together as "other".
`

// metricsType is the content type of Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

func (b *backend) metricsPaths() []*framework.Path {
	return []*framework.Path{b.declare(&framework.Path{
		Pattern:      "metrics",
		DisplayAttrs: display("metrics"),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback:                  b.readMetrics,
				ForwardPerformanceStandby: true, // only the active node mints
				Summary:                   "Read the metrics of the mount, as Prometheus does.",
				Responses:                 map[int][]framework.Response{http.StatusOK: {{Description: "The metrics", MediaType: metricsType}}},
			},
		},
		HelpSynopsis:    "The metrics of the mount, for Prometheus.",
		HelpDescription: strings.TrimSpace(metricsHelp),
	}, nil)}
}

func (b *backend) readMetrics(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	families, err := b.metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering the metrics: %w", err)
	}
	var body bytes.Buffer
	encoder := expfmt.NewEncoder(&body, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, fmt.Errorf("writing the metrics: %w", err)
		}
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode: http.StatusOK, logical.HTTPContentType: metricsType, logical.HTTPRawBody: body.Bytes(),
	}}, nil
}
