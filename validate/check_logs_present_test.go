package validate

import "fmt"

func logsPresentFixtures() []fixture {
	many := tree{}
	for i := range 9 {
		many[fmt.Sprintf("/var/log/%d.log", i)] = lines("line")
	}
	return []fixture{
		{name: "good", node: tree{"/var/log/wtmp": file(""), "/var/log/journal": directory(0o2755)}},
		{name: "one", node: tree{"/var/log/apt/history.log": lines("Start-Date: 2026")}, want: []expect{{Warn, "/var/log/apt/history.log", 0, "", "17 bytes"}}},
		{name: "many", node: many, want: []expect{{Warn, "/var/log/0.log", 0, "", ""}, {Warn, "/var/log/1.log", 0, "", ""}, {Warn, "/var/log/2.log", 0, "", ""},
			{Warn, "/var/log/3.log", 0, "", ""}, {Warn, "/var/log/4.log", 0, "", "so are 4 more files"}}},
	}
}
