package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/firmware/board"
	"nightseg/firmware/boards"
	"nightseg/firmware/tree"
)

// boardFlags say which board of which machine is meant.
type boardFlags struct {
	board string
	root  string
}

func newBoardCommand(a *app) *cobra.Command {
	f := &boardFlags{}
	c := &cobra.Command{
		Use:   "board",
		Short: "Look at the board around the camera: sensors, LED, buttons, heat, power",
		Long: "board works with the description of a board: a YAML file that gives names to buses, lines, zones and\n" +
			"rails. Without --board it takes the one that ships for this machine. See docs/board.md.",
		Example: "  nightseg board list --show jetson-orin-nano > board.yaml\n" +
			"  nightseg board check --board board.yaml\n" +
			"  nightseg board watch --board board.yaml",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVar(&f.board, "board", "", "description of the board, a file or a name of board list")
	c.PersistentFlags().StringVar(&f.root, "root", "/", "folder with /sys, /proc and /dev of a recorded machine")
	c.AddCommand(newBoardList(a, f), newBoardCheck(a, f), newBoardWatch(a, f), newBoardSet(a, f), newBoardLamp(a, f))
	return c
}

// description reads the description that is meant.
func (f *boardFlags) description() (tree.Root, board.Description, error) {
	root := tree.Root(f.root)
	if f.board == "" {
		d, err := board.Detect(root)
		return root, d, usage(err)
	}
	text, err := boardText(f.board)
	if err != nil {
		return root, board.Description{}, usage(err)
	}
	d, err := board.Parse(text)
	if err != nil {
		return root, d, usage(fmt.Errorf("%s: %w", f.board, err))
	}
	return root, d, nil
}

// boardText is a description that ships, by its name, or a file.
func boardText(name string) ([]byte, error) {
	var names []string
	for _, f := range boards.All() {
		if f.Name == name {
			return f.Text, nil
		}
		names = append(names, f.Name)
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w, and no board that ships has this name (%s)", err, strings.Join(names, ", "))
	}
	return text, err
}

// boardListing is what list found, as --json prints it.
type boardListing struct {
	Model  string       `json:"model"` // of the machine
	Boards []boardEntry `json:"boards"`
}

type boardEntry struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	This  bool   `json:"this"` // it is that of the machine
}

func newBoardList(a *app, f *boardFlags) *cobra.Command {
	var show string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the boards that are known, and which one this machine is",
		Example: "  nightseg board list\n" +
			"  nightseg board list --show raspberry-pi-5 > board.yaml",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if show != "" {
				text, err := boardText(show)
				if err != nil {
					return usage(err)
				}
				_, err = a.out.Write(text)
				return err
			}
			return a.boardList(tree.Root(f.root))
		},
	}
	c.Flags().StringVar(&show, "show", "", "print the description of this board, to start one's own with")
	return c
}

func (a *app) boardList(root tree.Root) error {
	list, err := board.Known()
	if err != nil {
		return err
	}
	this, err := board.Detect(root)
	out := boardListing{Model: board.Model(root)}
	for _, d := range list {
		e := boardEntry{Name: d.Name, Title: d.Title, This: err == nil && d.Name == this.Name}
		out.Boards = append(out.Boards, e)
		mark := " "
		if e.This {
			mark = "*"
		}
		a.printf("%s %-18s %s\n", mark, e.Name, e.Title)
	}
	if err != nil {
		a.printf("%v\n", err)
	} else {
		a.printf("* this machine: %s\n", out.Model)
	}
	if a.json {
		return a.printJSON(out)
	}
	return nil
}

// boardCheck is the outcome of a check, as --json prints it.
type boardCheck struct {
	Board    string          `json:"board"`
	Findings []board.Finding `json:"findings"`
	Missing  int             `json:"missing"`
}

func newBoardCheck(a *app, f *boardFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Open every bus, line, zone and rail that the description uses; exit code 3 where one is missing",
		Example: "  nightseg board check\n" +
			"  nightseg board check --board board.yaml --json | jq '.findings[] | select(.ok | not)'",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			root, d, err := f.description()
			if err != nil {
				return err
			}
			return a.boardCheck(boardCheck{Board: d.Name, Findings: board.Check(c.Context(), root, d)})
		},
	}
}

func (a *app) boardCheck(r boardCheck) error {
	for _, f := range r.Findings {
		state := stateOK
		if !f.OK {
			state = stateFail
			r.Missing++
		}
		a.printf("%-4s  %-28s %s\n", state, f.Name, f.Text)
		if f.Remedy != "" {
			a.printf("%-4s  %-28s -> %s\n", "", "", f.Remedy)
		}
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	if r.Missing > 0 {
		return fail(exitRefused, "%d of %d things of the board %s are missing", r.Missing, len(r.Findings), r.Board)
	}
	a.printf("nothing of the board %s is missing\n", r.Board)
	return nil
}
