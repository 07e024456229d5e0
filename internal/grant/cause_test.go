// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "testing"

// The causes of failed connections are tested in TestConnectionsThatCannotBe.
func TestCauseOfAnAnswer(t *testing.T) {
	t.Parallel()
	for want, errs := range map[Cause][]Error{
		CauseClient: {
			{Kind: Refused, Status: 401, Code: CodeInvalidClient},
			{Kind: Refused, Status: 401},
			{Kind: Refused, Status: 200, Code: "incorrect_client_credentials"},
		},
		CauseGrant: {
			{Kind: Refused, Status: 400, Code: CodeInvalidGrant},
			{Kind: Refused, Status: 200, Code: "bad_refresh_token"},
		},
		CauseScope:   {{Kind: Refused, Status: 400, Code: "invalid_scope"}},
		CauseRequest: {{Kind: Refused, Status: 400, Code: "invalid_target"}, {Kind: Refused, Status: 404}},
		CausePage:    {{Kind: Refused, Status: 403, Page: true}, {Kind: Refused, Status: 401, Page: true}},
		CauseRate:    {{Kind: RateLimited, Status: 429}, {Kind: RateLimited, Status: 429, Page: true}},
		CauseOutage:  {{Kind: Unavailable, Status: 503}, {Kind: Unavailable, Status: 400, Code: codeServerError}},
		CauseTimeout: {{Kind: TooSlow}, {Kind: TooSlow, Status: 408}},
		CauseAnswer:  {{Kind: Unintelligible, Status: 200}, {Kind: Unintelligible, Status: 302}},
		CauseConfig:  {{Kind: Misconfigured}},
		CauseClock:   {{Kind: Refused, Status: 400, Code: CodeInvalidClient, cause: CauseClock}},
	} {
		for _, e := range errs {
			if got := e.Cause(); got != want {
				t.Errorf("%+v: got %s, want %s", e, got, want)
			}
		}
	}
}
