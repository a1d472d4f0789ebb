package text

import "strings"

// Strings are all words of the console in one language. The fields are the same
// in every language, and so are the verbs (%s, %d) in each.
type Strings struct {

	// Numbers and times
	DecimalMark, GroupMark, Days, Months, Years, Never, JustNow, AgoFormat, ETA string

	// Words that many screens share
	Enter, Cancel, Close, Loading, AsOf, OfflineWord, ErrorTitle, TryAgain, Code, NothingFound, NothingMatches, AndMore string
	Builtin, Production, Live, Target, Channel, Version, Created, PublicKey, Signed, Plain, Others, Somebody, InsteadOf string
	AlreadyDone, AlreadyLive, AlreadySo, LiveNow, OneDevice, ManyDevices, OneFile, ManyFiles, In24h, In30d, SignedBy    string
	Space                                                                                                               string

	// Frame
	TooSmallTitle, TooSmall, BadgeDemo, BadgeReadOnly, BadgeKey, Copied, FilterPrompt, FilterCount, PalettePrompt    string
	PaletteNone, HelpTitle, HelpHere, HelpEverywhere, HelpMove, MoveLines, MovePages, MoveHalf, MoveEnds, MoveFields string
	HelpPage, ErrorDismiss, JobRunning, TitleLive                                                                    string

	// Everywhere
	HelpQuit, LongQuit, HelpBack, LongBack, HelpHelp, LongHelp, HelpPalette, LongPalette, HelpFilter, LongFilter, HelpReload string
	LongReload, LongTheme, LongLang, LongSuspend, LongInterrupt, LongScreen, WhyReadOnly, WhySuspend, WhyNoFilter            string
	QuitTitle, QuitWhat, StopTitle, StopWhat, StopVerb, KeepGoing, Stopping, SuspendedNote                                   string

	// Dialogs
	TypeToConfirm, PressEnter, NotTheWord, EscCancels, TypeToNarrow, PickerFound, PickerRecent      string
	SecretTitle, SecretNewTitle, SecretField, SecretAgain, SecretNothing, SecretTyped, SecretUnseen string
	SecretEmpty, SecretShort, SecretDiffers, SecretAdvice, SecretClear, PathLabel, PathMissing      string

	// Screens
	TabBoard, TabRelease, TabBundles, TabDevices, TabFleet, TabActivity, TabKeys, TabServer, TabSettings, TabSetup string

	// Keys in the help line
	HelpOpen, HelpStart, HelpContinue, HelpRetry, HelpCopy, HelpCopyKey, HelpCopyID, HelpCopyVerdict, HelpCopyAddress        string
	HelpChecksum, HelpRelease, HelpResumeRelease, HelpSetup, HelpCancelJob, HelpPromote, HelpLater, HelpToChannel            string
	HelpAnother, HelpWriteKey, HelpPrevious, HelpRollout, HelpShare, HelpPause, HelpResume, HelpDisable, HelpRollBack        string
	HelpToAll, HelpChange, HelpProbe, HelpUndo, HelpPane, HelpDelete, HelpCleanup, HelpDetail, HelpSort, HelpWhy, HelpLookUp string
	HelpForce, HelpClear, HelpNewKey, HelpComplete, HelpChoose, HelpField                                                    string
	HelpDetails, HelpFiles, HelpCompare                                                                                      string
	HelpImport, HelpExport, HelpBackup, HelpDrill, HelpRemove                                                                string
	HelpPlan, HelpFreeze, HelpSet                                                                                            string
	HelpRotate                                                                                                               string
	HelpLog, HelpFollow, HelpHalt                                                                                            string
	HelpNewProfile, HelpUseProfile, HelpTry                                                                                  string

	// Keys in the help screen and the palette
	LongOpenChannel, LongStart, LongRelease, LongResumeRelease, LongSetup, LongContinue, LongRetry, LongCancelJob      string
	LongPromote, LongLater, LongPromoteAny, LongPromoteBundle, LongPrevious, LongRollout, LongShare, LongPause         string
	LongResume, LongDisable, LongRollBack, LongToAll, LongChangeRule, LongProbe, LongUndo, LongUndoThis, LongPane      string
	LongDelete, LongCleanup, LongDetail, LongSort, LongWhy, LongLookUp, LongForce, LongClear, LongNewKey, LongWriteKey string
	LongCopyLive, LongCopyVersion, LongCopyChecksum, LongCopyKey, LongCopyKeyID, LongCopyID, LongCopyVerdict           string
	LongCopyAddress, LongChangeSetting                                                                                 string
	LongDetails, LongFiles, LongCompare                                                                                string
	LongImport, LongExport, LongBackup, LongDrill, LongRemove                                                          string
	LongSetupNext, LongToKeys                                                                                          string
	LongPlan, LongFreeze                                                                                               string
	LongRotate                                                                                                         string
	LongLog, LongFollow                                                                                                string
	LongNewProfile, LongUseProfile                                                                                     string

	// What was copied
	WhatVersion, WhatChecksum, WhatPublicKey, WhatDevice, WhatVerdict, WhatAddress string

	// Why an action cannot run now
	WhyNoChannel, WhyNoUnfinished, WhyBusy, WhyNoBundles, WhyNoDevice, WhyNoKey, WhyNoPrevious, WhyNoRollout, WhyRolloutRuns string
	WhyNoProbe, WhyNoProject, WhyNoEdit, WhyWritten, WhyNoUndo, WhyNoOverride, WhyNothingUnused, WhyMakingKey                string
	WhyLooking, WhyNoBuild, WhyNoVersion, WhyNotSemver, WhyVersionExists                                                     string
	WhyNoContents, WhyOneBundle                                                                                              string
	WhyNoCare                                                                                                                string
	WhyNoSchedule                                                                                                            string
	WhyNoLog                                                                                                                 string
	WhyNoProfiles, WhyNoDriver, WhyInUse                                                                                     string

	// Board
	Adoption, NoPolls, NoRollout, NoFigures, NoInstalls, FailOf, Paused, Off, RollingOut, Updated, PublicChannel, MoreChannel string
	MoreChannels, RecentTitle, AdoptionTitle, NowMark, AlertPaused, AlertFailures, AlertUnfinished, AlertUnfinishedHow        string
	AlertNoKey, AlertNoKeyHow, Welcome, WelcomeWhat, WelcomeEnter, StepKey, StepKeyHow, StepFolder, StepFolderHow             string
	StepRelease, StepReleaseHow, StepLive, StepLiveHow                                                                        string

	// Release
	JobRelease, JobPromote, KeyTitle, KeyIntro, KeyMaking, KeyEnter, KeyMade, KeyMadeTitle, KeyMadeIntro, KeyID, KeyStored     string
	KeyFinger, EditOffer, EditByHand, EditThere, EditMissing, EditTitle, EditVerb, EditDone, EditUndo, CapSync, BackupReminder string
	ToFolder, FolderTitle, FolderIntro, FolderType, FolderIsBuild, FolderNoBuild, ToPlan, PlanTitle, Proposed, NewChannel      string
	BuildFolder, SignedWith, ToRun, RunTitle, Cancelled, CancelledWhat, ReadyToPromote, PromoteTitle, PromoteIntro             string
	PromoteFromTo, PromoteUndo, LiveLabel, BeforeLabel, BundleLabel, DevicesLabel, ChangesLabel, OriginsLabel, WarningsLabel   string
	ProofLabel, ProofDone, UndoLabel, ReachOne, ReachMany, ReachNone, CannotTake, ChannelMoved, RegisteredNotLive              string
	RegisteredWhat, IsLive, DeviceTook, DeviceRefused                                                                          string
	ComparingWith, CannotCompare, DetailsTitle, ProofTitle, ProofNotOffered, ProofForm, DiffTitle                              string
	NothingChanged, NativeLabel, DeltaOf, SameFiles                                                                            string
	DeltaLabel, DeltaOn, DeltaOff, DeltaNone, DeltaTurn                                                                        string

	// Channel
	Timeline, Rules, NoSuchChannel, NoSuchChannelHow, NoHistory, NoHistoryHow, RuleDefault, RuleDefaultYes, RuleDefaultNo string
	RulePolicy, RuleNative, RuleNativeYes, RuleNativeNo, RuleSelf, RuleSelfYes, RuleSelfNo, RuleProd, RuleDev, RulePhone  string
	RuleEmulator, Allowed, TurnedAway, RuleUndo, RuleSet, BackTitle, BackWhat, BackBuiltin, MoveUndo, ChoosePromote       string
	ChooseRollout, ChooseShare, ChooseChannel, AboutDevices, RolloutTitle, RolloutWhat, RolloutUndo, RolloutStarted       string
	ShareWhat, ShareDown, ShareUndo, ShareSet, PauseWhat, ResumeWhat, PausedSay, ResumedSay, DisableWhat, DisabledSay     string
	RollBackWhat, RolledBackSay, ToAllWhat, ProbeTitle, ProbeTook, ProbeNothing                                           string

	// Schedule
	PlanNext, PlanHold, PlanNow, PlanLast, PlanEverybody, PlanEach, PlanAtOnce, PlanStarts, ChoosePlanDo       string
	PlanReplace, PlanReplaceNote, PlanDrop, PlanDropNote, PlanPause, PlanPauseNote, ChoosePlanVersion          string
	ChoosePlanHow, PlanAt, PlanAtNote, PlanOwn, PlanOwnNote, PlanSharesTitle, PlanSharesWhat, PlanSharesLabel  string
	PlanSharesBad, PlanTimeTitle, PlanTimeWhat, PlanTimeNone, PlanTimeLabel, PlanTimeBad, PlanTimePast         string
	PlanTimeOrder, PlanConfirm, PlanWhat, PlanUndo, Planned, PlanDropped, PlanDropWhat, FrozenUntil, FrozenHow string
	FrozenTitle, FrozenWhat, ReasonLabel, ReasonMissing, ReasonGiven, FreezesTitle, FreezesIntro, FreezeOnce   string
	FreezeWeekly, FreezeNameTitle, FreezeNameLabel, FreezeNameBad, FreezeFromTitle                             string
	FreezeToTitle, FreezeWeekTitle, FreezeWeekWhat, FreezeWeekLabel, FreezeWeekBad, FreezeEvery, FreezeRange   string
	FreezeAsk, FreezeUndo, FreezeSaid, FreezeAskRemove, FreezeRemoveWhat, FreezeRemoved, OwnVersion            string
	TimeLabel                                                                                                  string
	FreezeWhat                                                                                                 string
	ScheduleTitle, PlanNothing, FreezeNothing                                                                  string

	// Columns
	ColWhen, ColWhat, ColNote, ColVersion, ColChannels, ColDevices, ColSize, ColSigned, ColAge, ColComment, ColDevice string
	ColCustom, ColRuns, ColPlatform, ColNative, ColPlugin, ColForced, ColSeen, ColStore, ColFleet, ColBackup, ColUsed string

	// Bundles
	NoBundles, NoBundlesHow, OnNoChannel, MinNative, KeptLive, KeptRollout, DeleteTitle, DeleteWhat, DeleteRunning string
	DeleteUndo, Deleted, CleanupWhat, CleanupKeeps, CleanedUp                                                      string
	FilesTitle, CompareWith, FilesSum                                                                              string

	// Devices
	NoDevices, NoDevicesHow, NoDeviceMatches, ReadingOn, NotAll, NativeAndPlugin, KindProd, KindDev, KindEmulator     string
	KindKey, VerdictTitle, VerdictRuns, VerdictOffered, VerdictCurrent, VerdictRefused, VerdictNoChannel, ChecksTitle string
	EventsTitle, NoEvents, NoExplain, ChooseOverride, ForceWhat, Forced, ClearWhat, Cleared, ForceUndo                string
	NoDeviceNamed, WhichDevice                                                                                        string

	// Fleet
	NoFleet, NoFleetHow, FleetBundles, FleetNative, FleetPlugin, FleetPlatform, FleetKeys, NoKeyID, AllEnforce, SomeEnforce string
	SomeEnforceHow, LeftBehind, LeftBehindHow, OtherKey, OtherKeyHow                                                        string
	ShortKeyID                                                                                                              string

	// Keys
	NoKeys, NoKeysHow, NoBackup, BackupHow, InProject, ChooseStore, SecondKey                  string
	ImportTitle, ImportWhat, ImportInto, Imported, ImportedTitle, ExportTitle, ExportWhat      string
	Exported, BackupTitle, BackupWhat, BackedUp, DrillTitle, DrillWhat, DrillOffer             string
	DrillOfferWhat, DrilledTitle, DrilledKey, DrilledUnknown, Drilled, NotDrilled, RemoveTitle string
	RemoveWhat, RemoveNoBackup, RemoveDevices, Removed                                         string

	// Change of keys
	RotateTitle, RotateKeys, RotateMoved, RotateMovedOf, RotateNext, RotateDone                     string
	RotateStart, RotateStartWhat, RotateStartDoes, RotateStartUndo, RotateStarted                   string
	RotateBoth, RotateBothNote, RotateBothDoes, RotateBothUndo, RotatedBoth                         string
	RotateCancel, RotateCancelNote, RotateCancelDoes, RotateCancelled                               string
	RotateDrain, RotateDrainNote, RotateDrainDoes, RotateCount, RotateCountNote, RotateCounted      string
	RotateRetire, RotateRetireNote, RotateRetireTitle, RotateRetireDoes, RotateLeft, RotatedRetired string
	RotateNextBoth, RotateNextDrain, RotateNextWait, RotateNextRetire                               string

	// Setup
	SetupTitle, SetupProject, SetupApp, SetupPlugin, SetupServer, SetupKey, SetupConfig, SetupChannel                string
	SetupNoProject, SetupNoApp, SetupNoPlugin, SetupNoWebDir, SetupNoConfig, SetupNoChannel, DoctorTitle, DoctorFine string
	SetupNoKey, SetupAfterKey, SetupSync, SetupSynced, SetupNoNative, SetupSyncHow, SetupBackup                      string
	SetupNoBackup, SetupNoDrill, SetupDo, SetupDone                                                                  string

	// Server
	RemoteServer, Address, ForDevices, UpSince, DataFolder, Requests, TotalRequests, LogTitle, NoLog, ScanMe, CanDo string
	CapgoOnly                                                                                                       string
	LocalOnlyNote, LocalOnlyHow, KnownDevices                                                                       string
	Searching, SearchedAll, SearchCut, SearchCutHow, SearchOffer                                                    string
	ProfileNoServer                                                                                                 string
	LanNote, KeyLiveOn, KeyLiveNowhere, KeyHeldBy, KeyHeldNone                                                      string
	LogFollows, LogHalted, LogNew, LogLine, LogLines                                                                string

	// Settings
	LooksTitle, ThemeLabel, LangLabel, LangName, ProfilesTitle, NoProfiles, SampleOK, SampleWarn, SampleBad, SampleInfo string
	SampleAccent, SampleMuted                                                                                           string
	ProfileHow, ProfileNameTitle, ProfileNameBad, ProfileServerTitle, ProfileServerWhat, ProfileServerLabel             string
	ProfileServerBad, ProfileStoreTitle, ProfileAddressTitle, ProfileAddressWhat, ProfileAddressLabel                   string
	ProfileAddressBad, ProfilePublicTitle, ProfilePublicWhat, ProfilePublicLabel, ProfileChannelTitle                   string
	ProfileTrying, ProfileTried, ProfileBlocked, ProfileSaveTitle, ProfileShared, ProfileMine, ProfileMineNote          string
	ProfileExecWhy, ProfileSaved                                                                                        string

	// Line mode
	LineIntro, LineMenu, LineStatus, LineRelease, LineRollback, LineDevice, LineKeys, LineQuit, LineNumber, LineBad string
	LineFolder, LineVersion, LineChannel, LineDeviceID, LineDefault, LineConfirm, LineYes, LineYesWord, LineNothing string
	LineNoKey, LineLive, LineDone, LineBusy, LinePercent                                                            string
	LineSetup, LineBackupTo, LineAllSet                                                                             string

	// MonthNames are three letters each.
	MonthNames [12]string
	// ThemeNames by theme; StageNames and StageDoing by stage; StoreNames and
	// StoreWhat by kind of key store; RuleWords by a rule as the audit writes it; Policies by update policy; Sources by where
	// a device's channel came from; CheckNames by the server's check; Actions by
	// the audit's verb, with %s for the version.
	ThemeNames, StageNames, StageDoing, StoreNames, StoreWhat, Policies, Sources, CheckNames, Actions, DayNames, DriverNames, DriverKeys, RotationStates map[string]string
	RuleWords                                                                                                                                            map[string]string
}

// Languages are the codes of the languages that the console speaks.
func Languages() []string { return []string{"en", "es"} }

// Of gives the words of a language; an unknown one gives English.
func Of(lang string) *Strings {
	if lang == "es" {
		return &spanish
	}
	return &english
}

// Choose picks the language: the one asked for if the console speaks it, else
// that of the first of the environment's values (LC_ALL, LC_MESSAGES, LANG)
// that names one, else English.
func Choose(asked string, environment ...string) string {
	for _, value := range append([]string{asked}, environment...) {
		if value == "" {
			continue
		}
		code, _, _ := strings.Cut(strings.ToLower(value), ".")
		code, _, _ = strings.Cut(code, "_")
		code, _, _ = strings.Cut(code, "-")
		if code == "en" || code == "es" {
			return code
		}
		if value != asked {
			break // the environment names a language that the console does not speak
		}
	}
	return "en"
}
